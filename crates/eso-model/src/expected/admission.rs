//! The API server's validation of a Secret by its type (`ValidateSecret` in Kubernetes).

use std::fmt;

use secret::Value;

use super::{
    keys::Keys,
    secret_type::SecretType,
    spec::Template,
    verdict::{Expected, NotComputable, Unverifiable, why},
};
use crate::{
    budget::Budget,
    gojson::{self, NotJson, Shape},
};

const SERVICE_ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";
const SERVICE_ACCOUNT: &str = "kubernetes.io/service-account.name";
const OPAQUE: &str = "Opaque";

/// The keys whose values must be JSON objects.
const JSON_KEYS: [&str; 2] = [".dockercfg", ".dockerconfigjson"];

/// The Secret that exists.
#[derive(Clone, Copy)]
pub struct Existing<'a> {
    /// `type`
    pub r#type: &'a str,
    /// True if the Secret keeps this key when the ExternalSecret does not write it.
    pub keeps: &'a dyn Fn(&str) -> bool,
}

/// The reason why the API server would reject a Secret. It names the type and the key, but never contains a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The type of an existing Secret cannot be changed.
    TypeChange { from: String, to: String },
    /// The type requires one of these keys, or all.
    LacksKey {
        r#type: String,
        keys: Vec<&'static str>,
    },
    /// The type requires a JSON object.
    NotJson { r#type: String, key: &'static str },
    /// The type requires the annotation that names a service account.
    LacksServiceAccount,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TypeChange { from, to } => write!(
                f,
                "the Secret's type is {from} and cannot be changed to {to}"
            ),
            Self::LacksKey { r#type, keys } => {
                write!(f, "a Secret of type {type} requires {}", keys.join(" or "))
            }
            Self::NotJson { r#type, key } => {
                write!(f, "a Secret of type {type} requires a JSON object as {key}")
            }
            Self::LacksServiceAccount => write!(
                f,
                "a Secret of type {SERVICE_ACCOUNT_TOKEN} requires the annotation {SERVICE_ACCOUNT}"
            ),
        }
    }
}

/// The facts about the Secret that a template with this data produces.
pub(super) fn secret_type(
    template: Option<&Template>,
    data: &Keys,
    budget: &Budget,
) -> Result<SecretType, NotComputable> {
    let mut not_json = Vec::new();
    for key in JSON_KEYS {
        if let Some(value) = data.get(key)
            && !is_json_object(value, budget)?
        {
            not_json.push(key);
        }
    }
    Ok(SecretType {
        name: template.map_or_else(String::new, |template| template.r#type.clone()),
        lacks_service_account: !template.is_some_and(names_service_account),
        not_json,
    })
}

impl Expected {
    /// The reason why the API server would reject the Secret, if it would. `existing` is the Secret before the write.
    pub fn rejection(&self, existing: Option<Existing<'_>>) -> Option<Rejection> {
        let wanted = &*self.secret_type.name;
        let held = existing.map_or("", |existing| existing.r#type);
        // The API server fills in a missing type.
        let held = if existing.is_some() && held.is_empty() {
            OPAQUE
        } else {
            held
        };
        if !wanted.is_empty() && existing.is_some() && wanted != held {
            return Some(Rejection::TypeChange {
                from: held.to_owned(),
                to: wanted.to_owned(),
            });
        }
        let has = |key: &str| {
            self.data.contains_key(key) || existing.is_some_and(|existing| (existing.keeps)(key))
        };
        let name = if wanted.is_empty() { held } else { wanted };
        self.invalid(name, has, existing.is_some())
    }

    fn invalid(&self, name: &str, has: impl Fn(&str) -> bool, exists: bool) -> Option<Rejection> {
        let lacks = |keys: &[&'static str]| Rejection::LacksKey {
            r#type: name.to_owned(),
            keys: keys.to_vec(),
        };
        let config = |key: &'static str| {
            if !has(key) {
                return Some(lacks(&[key]));
            }
            let invalid = self.secret_type.not_json.contains(&key);
            invalid.then(|| Rejection::NotJson {
                r#type: name.to_owned(),
                key,
            })
        };
        match name {
            "kubernetes.io/dockercfg" => config(".dockercfg"),
            "kubernetes.io/dockerconfigjson" => config(".dockerconfigjson"),
            "kubernetes.io/basic-auth" => {
                (!has("username") && !has("password")).then(|| lacks(&["username", "password"]))
            }
            "kubernetes.io/ssh-auth" => {
                let key = "ssh-privatekey";
                let written = self.data.get(key).map(|value| value.expose().is_empty());
                (written.unwrap_or(!has(key))).then(|| lacks(&[key]))
            }
            "kubernetes.io/tls" => ["tls.crt", "tls.key"]
                .into_iter()
                .find(|key| !has(key))
                .map(|key| lacks(&[key])),
            // An existing Secret of this type has the annotation.
            SERVICE_ACCOUNT_TOKEN => (!exists && self.secret_type.lacks_service_account)
                .then_some(Rejection::LacksServiceAccount),
            _ => None,
        }
    }
}

/// True if Go parses the value into a map: an object, or `null`.
fn is_json_object(value: &Value, budget: &Budget) -> Result<bool, NotComputable> {
    match gojson::parse_within(value.expose(), budget) {
        Ok(document) => Ok(matches!(document.shape, Shape::Object(_) | Shape::Null)),
        Err(NotJson::Invalid) => Ok(false),
        Err(NotJson::TooDeep) => Err(Unverifiable::new(why::DEPTH, "spec.target.template").into()),
        Err(NotJson::TooCostly(error)) => Err(error.into()),
    }
}

/// True if the template may set the annotation that names a service account.
fn names_service_account(template: &Template) -> bool {
    let annotations = template
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.get("annotations"));
    let named = annotations.is_some_and(|all| all.get(SERVICE_ACCOUNT).is_some());
    let may_name = template.template_from.iter().any(|from| {
        let target = from.get("target").and_then(|target| target.as_str());
        target.is_some_and(|target| target.eq_ignore_ascii_case("annotations"))
    });
    named || may_name
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{budget::Limits, expected::Effect};

    fn expected(r#type: &str, data: &[(&str, &str)]) -> Expected {
        let data: Keys = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
            .collect();
        let template = Template {
            r#type: r#type.to_owned(),
            ..Template::default()
        };
        let budget = Budget::new(Limits::default());
        Expected {
            secret_type: secret_type(Some(&template), &data, &budget).unwrap(),
            data,
            exact: true,
            effect: Effect::Write,
            immutable: false,
        }
    }

    fn new(r#type: &str, data: &[(&str, &str)]) -> String {
        let expected = expected(r#type, data);
        expected
            .rejection(None)
            .map_or_else(String::new, |rejection| rejection.to_string())
    }

    fn over(held: &str, kept: &[&str], r#type: &str, data: &[(&str, &str)]) -> String {
        let existing = Existing {
            r#type: held,
            keeps: &|key: &str| kept.contains(&key),
        };
        expected(r#type, data)
            .rejection(Some(existing))
            .map_or_else(String::new, |rejection| rejection.to_string())
    }

    #[test]
    fn required_keys_depend_on_the_type() {
        for (r#type, data, told) in [
            ("", &[("a", "")][..], ""),
            ("Opaque", &[], ""),
            ("example.com/own", &[], ""),
            ("bootstrap.kubernetes.io/token", &[], ""),
            ("kubernetes.io/dockercfg", &[(".dockercfg", "{}")], ""),
            (
                "kubernetes.io/dockercfg",
                &[],
                "a Secret of type kubernetes.io/dockercfg requires .dockercfg",
            ),
            (
                "kubernetes.io/dockerconfigjson",
                &[(".dockerconfigjson", "null")],
                "",
            ),
            (
                "kubernetes.io/dockerconfigjson",
                &[(".dockerconfigjson", "% hunter2")],
                "a Secret of type kubernetes.io/dockerconfigjson requires a JSON object as .dockerconfigjson",
            ),
            (
                "kubernetes.io/dockerconfigjson",
                &[(".dockerconfigjson", "[]")],
                "a Secret of type kubernetes.io/dockerconfigjson requires a JSON object as .dockerconfigjson",
            ),
            (
                "kubernetes.io/dockerconfigjson",
                &[(".dockerconfigjson", "")],
                "a Secret of type kubernetes.io/dockerconfigjson requires a JSON object as .dockerconfigjson",
            ),
            ("kubernetes.io/basic-auth", &[("password", "")], ""),
            (
                "kubernetes.io/basic-auth",
                &[("user", "")],
                "a Secret of type kubernetes.io/basic-auth requires username or password",
            ),
            ("kubernetes.io/ssh-auth", &[("ssh-privatekey", "k")], ""),
            (
                "kubernetes.io/ssh-auth",
                &[("ssh-privatekey", "")],
                "a Secret of type kubernetes.io/ssh-auth requires ssh-privatekey",
            ),
            ("kubernetes.io/tls", &[("tls.crt", ""), ("tls.key", "")], ""),
            (
                "kubernetes.io/tls",
                &[("tls.crt", "")],
                "a Secret of type kubernetes.io/tls requires tls.key",
            ),
            (
                "kubernetes.io/service-account-token",
                &[],
                "a Secret of type kubernetes.io/service-account-token requires the annotation kubernetes.io/service-account.name",
            ),
        ] {
            assert_eq!(new(r#type, data), told, "{type}");
        }
    }

    #[test]
    fn type_of_an_existing_secret_cannot_change() {
        assert_eq!(
            over("Opaque", &[], "kubernetes.io/tls", &[]),
            "the Secret's type is Opaque and cannot be changed to kubernetes.io/tls"
        );
        assert_eq!(
            over("", &[], "kubernetes.io/tls", &[]),
            "the Secret's type is Opaque and cannot be changed to kubernetes.io/tls"
        );
        // Without a type in the template, the type of the Secret remains, with its requirements.
        assert_eq!(
            over("kubernetes.io/tls", &[], "", &[("tls.crt", "")]),
            "a Secret of type kubernetes.io/tls requires tls.key"
        );
        assert_eq!(
            over("kubernetes.io/tls", &["tls.key"], "", &[("tls.crt", "")]),
            ""
        );
        assert_eq!(
            over("kubernetes.io/ssh-auth", &["ssh-privatekey"], "", &[]),
            ""
        );
    }

    #[test]
    fn template_can_name_the_service_account() {
        let named = Template {
            metadata: Some(json!({"annotations": {SERVICE_ACCOUNT: "x"}})),
            ..Template::default()
        };
        assert!(names_service_account(&named));
        let from = json!({"target": "Annotations"});
        let rendered = Template {
            template_from: vec![from.as_object().unwrap().clone()],
            ..Template::default()
        };
        assert!(names_service_account(&rendered));
        assert!(!names_service_account(&Template::default()));
    }
}
