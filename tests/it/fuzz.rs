//! Fuzz targets: everything that strangers write is read without a panic, within the budget, and without showing a value.
//!
//! In `cargo test` each target runs a few hundred inputs, always the same. For a long run see docs/development.md. There is no
//! coverage feedback, which would need a nightly compiler. Instead, an input whose result is new becomes a seed.

mod engine;

use cluster::{
    Access,
    connect::{ConnectError, Options, connect},
    escape::changes_the_screen,
};
use eso_model::{
    ProviderKind,
    budget::{Budget, Limits},
    expected::{Answer, Content, GoRegex, NoTemplates, NotComputable, Raw, Spec, expected},
    gjson::Document,
    template::{self, Data},
};
use eso_sync::{
    foreign::{self, Foreign},
    report::format::Output,
};
use jiff::Timestamp;
use pace::{Clock, rate::Rate};
use secret::Value;
use serde_json::json;

use self::engine::{Target, fuzz};
use crate::policy::load;

/// A value that no error may show. No word of a target contains it.
const SECRET: &str = "hunter2-hunter2";

/// A budget that is used up after milliseconds.
fn small() -> Budget {
    Budget::new(Limits {
        work: 1 << 22,
        memory: 2 << 20,
    })
}

/// Fails if a terminal or a CI system would execute a part of this text.
fn assert_harmless(text: &str) {
    for line in text.split('\n') {
        assert!(!line.contains(changes_the_screen), "{line:?}");
        assert!(!line.trim_start().starts_with("::"), "{line:?}");
        assert!(
            !line.contains("##[") && !line.contains("##vso["),
            "{line:?}"
        );
    }
}

/// Fails if the text shows the value. Returns the text.
fn without_secret(text: String) -> String {
    assert!(!text.contains(SECRET), "{text}");
    text
}

#[test]
fn fuzz_policy_yaml() {
    const WORDS: &str = "\
        select¦namespaces¦names¦labels¦stores¦sync¦timeout¦drift¦restart¦safety¦lock¦maxSyncs¦rates¦5/s¦30s¦\
        100%¦true¦null¦~¦[¦]¦{¦}¦: ¦- ¦\n¦  ¦&a¦*a¦!!str¦<<: ¦|¦>-¦\"¦'¦#¦1e999¦0x1F¦.inf¦---¦...¦%YAML 1.1";
    let seeds = &[
        include_str!("../../config.example.yaml"),
        "select:\n  - namespaces: [a, \"b-*\"]\n    names: [db]\n",
        "select: [{namespaces: [a]}]\nsync: {timeout: 30s}\nsafety: {maxSyncs: 5}\n",
        "&a [*a, *a]\n",
    ];
    fuzz(
        Target {
            name: "fuzz_policy_yaml",
            seeds,
            words: WORDS,
        },
        |text| match (load(text), load(text)) {
            (Ok(first), Ok(second)) => {
                assert_eq!(first.digest, second.digest);
                "valid".to_owned()
            }
            (Err(first), Err(second)) => {
                assert!(!first.problems.is_empty());
                assert_eq!(first, second);
                let shown = first.to_string();
                assert_harmless(&foreign::lines(&shown));
                shown
            }
            _ => panic!("two results"),
        },
    );
}

#[test]
fn fuzz_kubeconfig() {
    const WORDS: &str = "\
        server: ¦https://¦http://¦socks5://¦[::1]:6443¦user:password@¦token: ¦tokenFile: ¦proxy-url: ¦\
        insecure-skip-tls-verify: true¦certificate-authority-data: ¦client-key-data: ¦auth-provider: ¦\
        current-context: ¦as: ¦as-groups: ¦extensions: ¦\n¦  ¦- ¦null¦\"\"¦!!binary¦&a¦*a";
    let seeds = &[
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- name: c\n  context: {cluster: k, user: u, namespace: n}\nclusters:\n- name: k\n  cluster:\n    server: https://127.0.0.1:1\n    certificate-authority-data: LS0t\nusers:\n- name: u\n  user:\n    token: hunter2-hunter2\n",
        "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nclusters: [{name: k, cluster: {server: 'https://127.0.0.1:1', proxy-url: 'http://u:hunter2-hunter2@127.0.0.1:2'}}]\nusers: [{name: u, user: {username: u, password: hunter2-hunter2}}]\n",
        "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nclusters: [{name: k, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: u, user: {client-certificate-data: aHVudGVyMg==, client-key-data: aHVudGVyMg==}}]\n",
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    fuzz(
        Target {
            name: "fuzz_kubeconfig",
            seeds,
            words: WORDS,
        },
        |text| {
            // Nothing is executed here, and no file of the machine is read.
            if text.contains("command") || text.contains("exec") {
                return "skipped".to_owned();
            }
            std::fs::write(&path, text).expect("written");
            let mut options = Options::new(Clock::starting_at(Timestamp::UNIX_EPOCH));
            options.kubeconfig = Some(path.clone());
            let rate = Rate::per_second(1.0).expect("a rate");
            let connected = runtime.block_on(connect(&options, Access::ReadOnly, rate));
            match connected {
                Ok(_) => "connected".to_owned(),
                Err(error) => shown_error(&error, text),
            }
        },
    );
}

/// Returns the error's text, which must be harmless, and must not show a credential.
fn shown_error(error: &ConnectError, text: &str) -> String {
    let shown = error.to_string();
    assert_harmless(&foreign::lines(&shown));
    // A mutation can make the value a name. Names are shown.
    let credentials = ["token: ", "password: ", "u:"];
    let count: usize = credentials
        .iter()
        .map(|before| text.matches(&format!("{before}{SECRET}")).count())
        .sum();
    if count == text.matches(SECRET).count() {
        return without_secret(shown);
    }
    shown
}

/// ExternalSecrets that read one secret in different ways.
fn specs() -> [Spec; 7] {
    let reference = |extra: serde_json::Value| {
        let mut reference = json!({"key": "k"});
        reference
            .as_object_mut()
            .expect("an object")
            .extend(extra.as_object().cloned().unwrap_or_default());
        json!({"secretStoreRef": {"name": "s"}, "data": [{"secretKey": "x", "remoteRef": reference}]})
    };
    let extract = |extra: serde_json::Value| {
        let mut entry = json!({"extract": {"key": "k"}});
        entry
            .as_object_mut()
            .expect("an object")
            .extend(extra.as_object().cloned().unwrap_or_default());
        json!({"secretStoreRef": {"name": "s"}, "dataFrom": [entry]})
    };
    let specs = [
        reference(json!({})),
        reference(json!({"property": "a"})),
        reference(json!({"property": "b.c.#"})),
        reference(json!({"property": "a", "decodingStrategy": "Auto"})),
        extract(json!({})),
        extract(json!({"rewrite": [{"regexp": {"source": "(.)", "target": "$1$1"}}]})),
        extract(json!({"rewrite": [{"merge": {"into": "m", "strategy": "JSON"}}]})),
    ];
    specs.map(|spec| Spec::parse(&spec).expect("a spec"))
}

#[test]
fn fuzz_provider_payloads() {
    const WORDS: &str = "\
        {¦}¦[¦]¦:¦,¦\"¦\\¦\\u0000¦\\ud800¦null¦true¦1e999¦-0¦a¦b¦a.b¦1.50¦12345678901234567890¦\u{0}¦\
        \u{feff}¦hunter¦=¦+/";
    let seeds = &[
        r#"{"a":"hunter2-hunter2","b":{"c":[1,2.50,null,true]},"n":1e3}"#,
        r#"["hunter2-hunter2",{"a":1}]"#,
        "hunter2-hunter2",
        "aHVudGVyMi1odW50ZXIy",
        r#"{"a":{"a":{"a":{"a":{}}}},"hunter2-hunter2":"b"}"#,
    ];
    let specs = specs();
    // One for each format of secrets, without Kubernetes.
    let providers = [
        ProviderKind::Fake,
        ProviderKind::Vault,
        ProviderKind::SecretsManager,
    ];
    fuzz(
        Target {
            name: "fuzz_provider_payloads",
            seeds,
            words: WORDS,
        },
        |text| {
            let raws = [Raw::Bytes(Value::from(text)), Raw::Json(Value::from(text))];
            let mut all = String::new();
            for (provider, spec) in providers
                .iter()
                .flat_map(|provider| specs.iter().map(move |spec| (provider, spec)))
            {
                for raw in &raws {
                    let answer = |_: &_| Answer {
                        provider,
                        content: Content::One(raw),
                    };
                    let shown = match expected(spec, answer, &NoTemplates, &small()) {
                        Ok(expected) => format!("{} keys", expected.data.len()),
                        Err(NotComputable::Unverifiable(why)) => without_secret(why.to_string()),
                        Err(NotComputable::WouldFail(why)) => without_secret(why.to_string()),
                    };
                    all.push_str(&shown);
                }
            }
            all
        },
    );
}

#[test]
fn fuzz_templates() {
    const WORDS: &str = "\
        {{¦}}¦{{-¦-}}¦{{/*¦*/}}¦|¦(¦)¦.a¦.b¦$x¦:=¦=¦,¦\"¦`¦if ¦else ¦end¦range ¦with ¦define ¦template ¦\
        block ¦break¦continue¦list ¦dict ¦index ¦printf ¦\"%[2]*.[1]*f\"¦\"%q\"¦repeat 100000 ¦until 100000 ¦\
        fromJson ¦toJson ¦fromYaml ¦toYaml ¦regexReplaceAll ¦splitList ¦substr 1 3 ¦trunc -2 ¦date \"2006\" ¦\
        semver ¦urlParse ¦round ¦pkcs12key ¦pkcs12certPass ¦filterPEM \"A\" ¦filterCertChain \"leaf\" ¦\
        certSANs ¦jwkPublicKeyPem ¦rsaDecrypt ¦decryptAES ¦b64dec ¦b32dec ¦9223372036854775807¦-1¦0x1p-2¦\
        '\\x00'¦nil¦true";
    let seeds = &[
        "{{ .a | upper }}{{ if .b }}x{{ else }}y{{ end }}",
        "{{ range $i, $x := list 1 .a nil }}{{ $i }}{{ $x }}{{ end }}",
        "{{ define \"x\" }}{{ . }}{{ end }}{{ template \"x\" .a }}",
        "{{ dict \"k\" .a | toYaml | fromYaml | toJson }}",
        "{{ .a | b64enc | b64dec | pkcs12key }}{{ filterPEM \"A\" .b }}",
        "{{ regexReplaceAll .b .a \"${1}\" }}{{ printf \"%v %d %q\" .a 1 .b }}",
    ];
    let other = "-----BEGIN A-----\nAAAA\n-----END A-----\n";
    fuzz(
        Target {
            name: "fuzz_templates",
            seeds,
            words: WORDS,
        },
        |text| {
            let budget = small();
            let data = Data::of([("a", SECRET.as_bytes()), ("b", other.as_bytes())], &budget)
                .expect("small");
            let before = budget.left().work;
            let rendered = template::render(text, &data, &budget);
            assert!(budget.left().work < before, "nothing was charged");
            let entries = template::render_keys_and_values(text, &data, &small());
            let of_entries = match entries {
                Ok(_) => "entries".to_owned(),
                Err(error) => without_secret(error.to_string()),
            };
            match rendered {
                Ok(_) => of_entries,
                Err(error) => without_secret(error.to_string()) + &of_entries,
            }
        },
    );
}

#[test]
fn fuzz_certificates_and_keys() {
    const WORDS: &str = "\
        MI¦AgEA¦BDAw¦gAA¦////¦AAAA¦=¦KoZIhvcN¦oIIB¦MYIB";
    const TEMPLATES: [&str; 6] = [
        "{{ .a | b64dec | pkcs12key }}",
        "{{ .a | b64dec | pkcs12cert }}",
        "{{ .a | b64dec | filterCertChain \"leaf\" }}",
        "{{ .a | b64dec | certSANs }}",
        "{{ .a | b64dec | jwkPrivateKeyPem }}",
        "{{ .a | b64dec | rsaDecrypt \"RSA-OAEP\" \"SHA1\" .a }}",
    ];
    let document: serde_json::Value = serde_json::from_str(include_str!(
        "../../crates/eso-model/src/template/functions/certificates/cases.json"
    ))
    .expect("JSON");
    let values = document["values"].as_object().expect("values").values();
    let seeds: Vec<&str> = values
        .filter_map(|value| value.as_str())
        .filter(|value| value.len() < 3000)
        .collect();
    fuzz(
        Target {
            name: "fuzz_certificates_and_keys",
            seeds: &seeds,
            words: WORDS,
        },
        |text| {
            let mut all = String::new();
            for template in TEMPLATES {
                let budget = small();
                let Ok(data) = Data::of([("a", text.as_bytes())], &budget) else {
                    return "too large".to_owned();
                };
                match template::render(template, &data, &budget) {
                    Ok(_) => all.push_str("ok "),
                    Err(error) => all.push_str(&error.to_string()),
                }
            }
            all
        },
    );
}

#[test]
fn fuzz_gjson_paths() {
    const WORDS: &str = "\
        .¦#¦*¦?¦|¦@this¦@reverse¦!¦\\¦#(¦)#¦==¦%¦\"¦[¦]¦{¦}¦:¦0¦1¦-1¦a¦\u{1}¦99999999999999999999¦\
        {\"a\":[1,{\"b\":2}]}";
    // The path and the document, separated by a control character.
    let seeds = &[
        "a.b.0\u{1}{\"a\":{\"b\":[1.50,\"x\"]}}",
        "#\u{1}[1,2,3]",
        "a\\.b\u{1}{\"a.b\":\"\\u00e4\"}",
        "a.#.b\u{1}{\"a\":[{\"b\":1},{\"b\":2}]}",
        "*.b?\u{1}{\"a\":{\"bc\":null}}",
    ];
    fuzz(
        Target {
            name: "fuzz_gjson_paths",
            seeds,
            words: WORDS,
        },
        |text| {
            let (path, json) = text.split_once('\u{1}').unwrap_or((text, text));
            let budget = small();
            let Ok(document) = Document::parse(json.as_bytes(), &budget) else {
                return "too costly".to_owned();
            };
            match document.get(path, &budget) {
                Ok(Some(value)) => {
                    assert!(
                        value.expose().len() <= json.len() * 6 + 32,
                        "longer than the document"
                    );
                    "found".to_owned()
                }
                Ok(None) => "absent".to_owned(),
                Err(_) => "not evaluated".to_owned(),
            }
        },
    );
}

#[test]
fn fuzz_go_regexps() {
    const WORDS: &str = "\
        (?i)¦(?P<n>¦(?:¦(?s:¦)¦[¦]¦[^¦[[:alpha:]]¦\\pL¦\\p{Greek}¦\\d¦\\W¦\\b¦\\z¦\\Q¦\\E¦\\x{10FFFF}¦{2}¦\
        {1000}¦{2,}¦*¦+?¦|¦^¦$¦.¦\\C¦-¦&&¦ſ¦K¦\u{1}";
    // The expression and the text, separated by a control character.
    let seeds = &[
        "^a+(b|c)*$\u{1}aabc",
        "(?i)[a-z\\d]{2,5}\u{1}Ab12",
        "\\Qa.b\\E\u{1}a.b",
        "(?P<x>.)\\W?\u{1}é",
        "[[:upper:]]\\pL{3}\u{1}ABCD",
    ];
    fuzz(
        Target {
            name: "fuzz_go_regexps",
            seeds,
            words: WORDS,
        },
        |text| {
            let (pattern, subject) = text.split_once('\u{1}').unwrap_or((text, text));
            let budget = small();
            let data = Data::of(
                [("p", pattern.as_bytes()), ("s", subject.as_bytes())],
                &budget,
            )
            .expect("small");
            let replaced = template::render("{{ regexReplaceAll .p .s \"<$0>\" }}", &data, &budget);
            let found = template::render("{{ regexFind .p .s }}", &data, &budget);
            let Ok(regexp) = GoRegex::new(pattern) else {
                return format!("not translated {}", replaced.is_ok());
            };
            let matches = regexp.is_match(subject);
            if let (false, Ok(replaced)) = (matches, &replaced) {
                assert_eq!(
                    replaced,
                    subject.as_bytes(),
                    "a replacement without a match"
                );
            }
            if let (false, Ok(found)) = (matches, &found) {
                assert!(found.is_empty(), "a result without a match");
            }
            format!("{matches} {} {}", replaced.is_ok(), found.is_ok())
        },
    );
}

#[test]
fn fuzz_event_bodies() {
    const WORDS: &str = "\
        {¦}¦[¦]¦:¦,¦\"¦\\¦\\u0000¦null¦true¦\"source\":¦\"aws.secretsmanager\"¦\"aws.ssm\"¦\"detail-type\":¦\"detail\":¦\
        \"Secret Label Updated\"¦\"AWS API Call via CloudTrail\"¦\"requestParameters\":¦\"secretId\":¦\"versionStages\":¦AWSPENDING¦\
        \"Type\":\"Notification\"¦\"TopicArn\":\"a\"¦\"Message\":¦\"eventType\":¦Microsoft.KeyVault.SecretNewVersionCreated¦\"data\":¦\
        \"attributes\":¦SECRET_VERSION_ADD¦\"protoPayload\":¦\"methodName\":¦arn:aws:secretsmanager:¦-AbCdEf¦projects/¦/secrets/¦\
        /versions/¦https://v.vault.azure.net/secrets/¦eyJh¦=¦\u{1b}[2J¦\u{202e}";
    let seeds = &[
        r#"{"source":"aws.secretsmanager","detail-type":"Secret Label Updated","resources":["arn:aws:secretsmanager:eu-west-1:1:secret:db-AbCdEf"],"detail":{"name":"hunter2-hunter2","labelUpdated":"AWSCURRENT","versionId":"1"}}"#,
        r#"{"source":"aws.secretsmanager","detail-type":"AWS API Call via CloudTrail","detail":{"eventName":"PutSecretValue","requestParameters":{"secretId":"hunter2-hunter2","versionStages":["a"]}}}"#,
        r#"{"Type":"Notification","TopicArn":"a","Message":"{\"source\":\"aws.ssm\"}"}"#,
        r#"[{"eventType":"Microsoft.KeyVault.SecretExpired","data":{"Id":"https://v.vault.azure.net/secrets/hunter2-hunter2/1"}}]"#,
        r#"{"message":{"messageId":"1","attributes":{"eventType":"SECRET_VERSION_ADD","dataFormat":"J","versionId":"projects/p/secrets/hunter2-hunter2/versions/1"}}}"#,
        r#"{"protoPayload":{"methodName":"google.cloud.secretmanager.v1.SecretManagerService.AddSecretVersion","resourceName":"projects/p/secrets/hunter2-hunter2"}}"#,
        "aHVudGVyMi1odW50ZXIy",
    ];
    let decoder = events::Decoder {
        key: Some("/key".to_owned()),
    };
    fuzz(
        Target {
            name: "fuzz_event_bodies",
            seeds,
            words: WORDS,
        },
        |text| {
            let notices = decoder.decode(text);
            assert!(!notices.is_empty());
            for notice in &notices {
                for name in notice.keys.iter().flat_map(|key| &key.names) {
                    assert!(name.len() <= 2048 && !name.contains(char::is_control));
                }
            }
            without_secret(format!("{notices:?}"))
        },
    );
}

#[test]
fn fuzz_foreign_text_in_every_output_format() {
    const WORDS: &str = "\
        \u{1b}[2J¦\u{9b}1m¦::add-mask::¦\n::¦\r\n  ::¦##[error]¦##vso[¦##¦\u{202e}¦\u{2028}¦\u{feff}¦```¦|¦\
        <b>¦\u{0}¦\t¦\"¦'¦---¦: ¦- ¦&a¦*a¦!!x¦\u{85}¦\u{e0041}¦ünï¦日本";
    let seeds = &[
        "plain",
        "x\u{1b}[2J\n::add-mask::a\r\n",
        "a: b\n- c",
        "##[##[",
        "  ::::",
        "~",
        "null",
        "1e3",
        "0o7",
        "\u{1f980}",
    ];
    fuzz(
        Target {
            name: "fuzz_foreign_text_in_every_output_format",
            seeds,
            words: WORDS,
        },
        |text| {
            let foreign = Foreign::from(text);
            for line in [
                foreign.terminal(),
                foreign::line(text),
                foreign::first(1, [&foreign, &foreign].into_iter()),
            ] {
                assert!(!line.contains('\n'), "{line:?}");
                assert!(line.len() < 40_000, "{} bytes", line.len());
                assert_harmless(&line);
            }
            assert_harmless(&foreign::lines(text));
            // For programs, the text stays exactly the same.
            let json = Output::Json
                .render(&[&foreign], |_| String::new())
                .expect("JSON");
            assert!(
                !json.trim_end().contains(|c: char| c < ' ' && c != '\n'),
                "{json:?}"
            );
            assert_eq!(
                serde_json::from_str::<[String; 1]>(&json).expect("JSON"),
                [text]
            );
            let yaml = Output::Yaml
                .render(&[&foreign], |_| String::new())
                .expect("YAML");
            assert_eq!(
                serde_saphyr::from_str::<[String; 1]>(&yaml).expect("YAML"),
                [text],
                "{yaml:?}"
            );
            format!("{} {}", text.len() / 100, foreign.terminal() == text)
        },
    );
}
