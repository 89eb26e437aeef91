//! Key names. A name can hold a value: a template such as `{{ .v }}: x` writes one, and so does `extract` of
//! `{"sk-live-…": "alice"}`. These rules say which names are harmless.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::{
    keys::is_key,
    spec::{MergeStrategy, Rewrite, Spec, Template},
};

/// The start of a template action.
const ACTION: &str = "{{";

/// The key names that stand in a spec or its templates, and whether other names may be computed from values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecNames {
    /// Names that stand in the spec.
    literal: BTreeSet<String>,
    /// Names that stand in the templates of ConfigMaps.
    referred: BTreeSet<String>,
    /// True if a template or rewrite computes names, so any other name may hold a value.
    computed: bool,
}

impl SpecNames {
    /// The names of a spec. `text` returns the template text that a ConfigMap holds, by its name and key, if it is known.
    pub fn of<'t>(spec: &Spec, text: impl Fn(&str, &str) -> Option<&'t str>) -> Self {
        let mut names = Self::default();
        let keys = spec.data.iter().map(|entry| entry.secret_key.clone());
        names.literal.extend(keys);
        for operation in spec.data_from.iter().flat_map(|entry| &entry.rewrite) {
            names.add_rewrite(operation);
        }
        if let Some(template) = &spec.target.template {
            names.add_template(template, text);
        }
        names
    }

    /// For a spec that is not known: every name may be computed.
    pub fn unknown() -> Self {
        Self {
            computed: true,
            ..Self::default()
        }
    }

    /// Adds the names of another ExternalSecret that writes the same Secret.
    pub fn extend(&mut self, other: Self) {
        self.literal.extend(other.literal);
        self.referred.extend(other.referred);
        self.computed |= other.computed;
    }

    /// Adds names that stand somewhere else where everybody can read them.
    pub fn add<'n>(&mut self, names: impl IntoIterator<Item = &'n String>) {
        self.literal.extend(names.into_iter().cloned());
    }

    /// True if templates in ConfigMaps have names.
    pub fn has_referred(&self) -> bool {
        !self.referred.is_empty()
    }

    /// True if the name stands in the spec. Whoever can read the spec knows it.
    pub fn stands_in_spec(&self, name: &str) -> bool {
        self.literal.contains(name)
    }

    /// True if the name stands in the spec or in the template of a ConfigMap.
    pub fn is_written(&self, name: &str) -> bool {
        self.stands_in_spec(name) || self.referred.contains(name)
    }

    /// True if a name that is not written anywhere may be computed from values.
    pub const fn may_compute(&self) -> bool {
        self.computed
    }

    fn add_rewrite(&mut self, operation: &Rewrite) {
        if let Some(merge) = &operation.merge {
            // The names of the members come out of the values.
            self.computed |= merge.strategy == MergeStrategy::Extract;
            self.literal.extend(merge.priority.iter().cloned());
            self.literal.insert(merge.into.clone());
        } else if let Some(regexp) = &operation.regexp {
            if !regexp.target.contains('$') {
                self.literal.insert(regexp.target.clone());
            }
        } else if let Some(transform) = &operation.transform {
            if transform.template.contains(ACTION) {
                self.computed = true;
            } else {
                self.literal.insert(transform.template.clone());
            }
        }
    }

    fn add_template<'t>(
        &mut self,
        template: &Template,
        text: impl Fn(&str, &str) -> Option<&'t str>,
    ) {
        self.literal.extend(template.data.keys().cloned());
        for from in &template.template_from {
            if let Some(literal) = from.get("literal").and_then(Json::as_str) {
                self.computed |= literal.contains(ACTION);
                self.literal.extend(names_in(literal));
            }
            self.add_items(from, "configMap", |name, key| text(name, key));
            // The text of a template in a Secret is itself a value.
            self.add_items(from, "secret", |_, _| None);
        }
    }

    fn add_items<'t>(
        &mut self,
        from: &Map<String, Json>,
        field: &str,
        text: impl Fn(&str, &str) -> Option<&'t str>,
    ) {
        let Some(reference) = from.get(field) else {
            return;
        };
        let name = word(reference, "name");
        let items = reference.get("items").and_then(Json::as_array);
        for item in items.into_iter().flatten() {
            let key = word(item, "key");
            self.literal.insert(key.to_owned());
            if matches!(word(item, "templateAs"), "" | "Values") {
                continue;
            }
            match text(name, key) {
                Some(text) => {
                    self.computed |= text.contains(ACTION);
                    self.referred.extend(names_in(text));
                }
                None => self.computed = true,
            }
        }
    }
}

fn word<'j>(json: &'j Json, field: &str) -> &'j str {
    json.get(field).and_then(Json::as_str).unwrap_or_default()
}

/// The words before a colon: every name that a YAML text can write, if no action computes it.
fn names_in(text: &str) -> impl Iterator<Item = String> {
    let before = text.split(':').map(str::trim_end);
    before.filter_map(|before| {
        let before = before.strip_suffix(['"', '\'']).unwrap_or(before);
        let start = before
            .rfind(|c: char| !is_key(c.encode_utf8(&mut [0; 4])) && c != '.')
            .and_then(|at| Some(at + before.get(at..)?.chars().next()?.len_utf8()));
        let name = before.get(start.unwrap_or_default()..)?;
        (!name.is_empty()).then(|| name.to_owned())
    })
}

/// The longest name that is shown, unless it stands in a spec.
pub(super) const LONGEST_NAME: usize = 80;

/// The first characters of well-known tokens.
const TOKENS: [&str; 26] = [
    "sk-",
    "sk_live",
    "sk_test",
    "rk_live",
    "rk_test",
    "pk_live",
    "pk_test",
    "whsec_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "gldt-",
    "xoxa-",
    "xoxb-",
    "xoxp-",
    "xoxr-",
    "xoxs-",
    "xapp-",
    "hvs.",
    "hvb.",
    "AIza",
    "ya29.",
];

/// The first characters of AWS access keys.
const AWS: [&str; 4] = ["AKIA", "ASIA", "AROA", "AIDA"];

/// True if this could be the name of a key, and not a token, a number or random characters. Words such as `hunter2` are names.
pub fn looks_like_a_name(name: &str) -> bool {
    let aws = |name: &str| {
        let upper = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        name.len() >= 16 && name.bytes().take(16).all(upper)
    };
    // The header of a PEM text has dashes, which `conversionStrategy` keeps. A JWT starts with `{"` in base64.
    let is_token = TOKENS.iter().any(|token| name.starts_with(token))
        || name.starts_with("-----")
        || name.contains("eyJ")
        || (AWS.iter().any(|start| name.starts_with(start)) && aws(name));
    is_key(name)
        && name.len() <= LONGEST_NAME
        && !is_token
        && !is_hexadecimal(name)
        && !name.split(['-', '_', '.']).any(is_random)
}

/// True for a UUID or a hexadecimal digest.
fn is_hexadecimal(name: &str) -> bool {
    let mut digits = name.bytes().filter(|byte| *byte != b'-');
    name.len() >= 32 && digits.all(|byte| byte.is_ascii_hexdigit())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Character {
    Upper,
    Lower,
    Digit,
}

/// True if a part of a name changes between cases and digits more often than words do, or is too long for a word.
fn is_random(part: &str) -> bool {
    /// Shorter parts say too little.
    const SHORT: usize = 12;
    /// The longest part without a change.
    const LONGEST_WORD: usize = 32;

    let kinds: Vec<Character> = part
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' => Character::Upper,
            b'0'..=b'9' => Character::Digit,
            _ => Character::Lower,
        })
        .collect();
    if kinds.len() < SHORT {
        return false;
    }
    let runs: Vec<&[Character]> = kinds.chunk_by(PartialEq::eq).collect();
    let is_digits = |run: &&&[Character]| run.first() == Some(&Character::Digit);
    // Words have a number at most at their end: `connectionString2`.
    let inner = runs
        .split_last()
        .map_or(0, |(_, inner)| inner.iter().filter(is_digits).count());
    let longest = runs.iter().map(|run| run.len()).max().unwrap_or_default();
    let most_digits = runs.iter().filter(is_digits).map(|run| run.len()).max();
    inner >= 2
        || (runs.len() - 1) * 3 >= kinds.len()
        || longest > LONGEST_WORD
        || most_digits.is_some_and(|digits| digits >= SHORT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(spec: &Json) -> SpecNames {
        let spec = Spec::parse(spec).unwrap();
        SpecNames::of(&spec, |name, key| {
            (name == "cm" && key == "kv").then_some("user: {{ .u }}\n\"pass.word\": x\n")
        })
    }

    fn template(json: &Json) -> SpecNames {
        names(&json!({"target": {"template": json}}))
    }

    #[test]
    fn names_of_the_spec_are_literal() {
        let spec = json!({
            "data": [{"secretKey": "password", "remoteRef": {"key": "db"}}],
            "dataFrom": [{"extract": {"key": "db"}, "rewrite": [
                {"regexp": {"source": "^a$", "target": "renamed"}},
                {"regexp": {"source": "(.*)", "target": "db-$1"}},
                {"transform": {"template": "fixed"}},
                {"merge": {"into": "all", "priority": ["first"], "strategy": "JSON"}},
            ]}],
            "target": {"template": {"data": {"url": "{{ .p }}"}, "templateFrom": [
                {"configMap": {"name": "cm", "items": [{"key": "config.yaml"}]}},
                {"literal": "plain: x\n'quoted': y\n\"double\": z\n{flow: 1, \"other\": 2}"},
            ]}},
        });
        let names = names(&spec);
        for name in [
            "password",
            "renamed",
            "fixed",
            "all",
            "first",
            "url",
            "config.yaml",
            "plain",
            "quoted",
            "double",
            "flow",
            "other",
        ] {
            assert!(names.stands_in_spec(name), "{name}");
        }
        assert!(!names.stands_in_spec("db-$1") && !names.stands_in_spec("db"));
        assert!(!names.may_compute());
    }

    #[test]
    fn template_or_rewrite_that_uses_values_computes_names() {
        for computing in [
            json!({"templateFrom": [{"literal": "{{ .v }}: x"}]}),
            // A value with a line break writes further names.
            json!({"templateFrom": [{"literal": "x: {{ .v }}"}]}),
            json!({"templateFrom": [{"configMap": {"name": "cm", "items": [{"key": "kv", "templateAs": "KeysAndValues"}]}}]}),
            json!({"templateFrom": [{"configMap": {"name": "unread", "items": [{"key": "kv", "templateAs": "KeysAndValues"}]}}]}),
            json!({"templateFrom": [{"secret": {"name": "cm", "items": [{"key": "kv", "templateAs": "KeysAndValues"}]}}]}),
            json!({"templateFrom": [{"secret": {"name": "cm", "items": [{"key": "kv", "templateAs": "New"}]}}]}),
        ] {
            assert!(template(&computing).may_compute(), "{computing}");
        }
        for rewrite in [
            json!({"merge": {}}),
            json!({"transform": {"template": "{{ .value | upper }}"}}),
        ] {
            let spec = json!({"dataFrom": [{"extract": {"key": "db"}, "rewrite": [rewrite]}]});
            assert!(names(&spec).may_compute(), "{rewrite}");
        }
        assert!(SpecNames::unknown().may_compute());
        let plain = json!({"data": {"a": "{{ .v }}"}, "templateFrom": [{"literal": "b: x"}]});
        assert!(!template(&plain).may_compute());
    }

    #[test]
    fn names_beside_an_action_stand_in_the_text() {
        let names =
            template(&json!({"templateFrom": [{"literal": "user: {{ .u }}\n{{ .v }}: x"}]}));
        assert!(names.stands_in_spec("user") && !names.stands_in_spec(""));
        let referred = json!({"templateFrom": [{"configMap": {"name": "cm", "items": [{"key": "kv", "templateAs": "KeysAndValues"}]}}]});
        let names = template(&referred);
        for name in ["user", "pass.word"] {
            assert!(
                names.is_written(name) && !names.stands_in_spec(name),
                "{name}"
            );
        }
    }

    #[test]
    fn ordinary_names_look_like_names() {
        for name in [
            "password",
            "username",
            "tls.crt",
            "tls.key",
            "ca.crt",
            ".dockerconfigjson",
            ".dockercfg",
            "DB_PASSWORD",
            "api-key",
            "ssh-privatekey",
            "id_ed25519",
            "AWS_SECRET_ACCESS_KEY",
            "connectionString",
            "SPRING_DATASOURCE_HIKARI_PASSWORD",
            "oauth2-client-secret",
            "s3-access-key",
            "kubeconfig",
            "config.yaml",
            "databaseConnectionPassword",
            "x509.pem",
            "keystore.p12",
            "redis-password-2",
            "sha256sum",
            "jdbcUrl",
            "PGPASSWORD",
            "client_secret_v2",
            "eu-west-1.endpoint",
            "prod_EU_db01_password",
            "a",
            "0",
            "google-application-credentials.json",
            "AKIA_key",
            "skills",
            "hunter2",
            "ENCRYPTION_KEY_2026",
            "GITHUB_TOKEN",
            "npm_token",
            "servicebus-connectionstring-primary",
            "rootCA.pem",
        ] {
            assert!(looks_like_a_name(name), "{name}");
        }
    }

    #[test]
    fn tokens_and_random_characters_do_not_look_like_names() {
        for name in [
            "sk-live-4242",
            "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "glpat-abc",
            "AKIAIOSFODNN7EXAMPLE",
            "xoxb-1-2",
            "eyJhbGciOiJIUzI1NiJ9",
            "x.eyJhbGciOiJIUzI1NiJ9.y",
            "hvs.CAESI",
            "-----BEGIN_RSA_PRIVATE_KEY-----",
            "wJalrXUtnFEMI_K7MDENG_bPxRfiCYEXAMPLEKEY",
            "d41d8cd98f00b204e9800998ecf8427e",
            "5f2b9c1e-8d3a-4f6b-9c0d-1e2f3a4b5c6d",
            "JBSWY3DPEHPK3PXP",
            "4242424242424242",
            "4eC39HqLyjWDarjtT1zdp7dc",
            "with space",
            "p@ss",
            "",
            "..",
            "ünïcode",
        ] {
            assert!(!looks_like_a_name(name), "{name}");
        }
        assert!(looks_like_a_name(&"long-".repeat(16)));
        assert!(!looks_like_a_name(&"long-".repeat(17)));
        assert!(!looks_like_a_name(&"x".repeat(33)));
    }
}
