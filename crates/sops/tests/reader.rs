//! Files that the real sops encrypted, and what becomes of them when they are changed. `tests/files/make` made them.
#![cfg(test)]

use std::{fmt::Write as _, fs, path::PathBuf};

use secret::Value;
use sops::{
    Answer, Comment, Decrypted, Element, File, Format, Identities, Member, Node, Protection,
    Reason, Refused, Step,
};

fn file(name: &str) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "files", name]
        .iter()
        .collect();
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(name: &str) -> String {
    String::from_utf8(file(name)).expect("UTF-8")
}

fn age() -> Identities {
    let mut identities = Identities::default();
    identities.add_age(&file("age.txt")).expect("an identity");
    identities
}

fn pgp() -> Identities {
    let mut identities = Identities::default();
    identities.add_pgp(&file("pgp.asc")).expect("an identity");
    identities
}

fn read(name: &str, text: &[u8]) -> Result<Decrypted, Refused> {
    let file = File::parse(Format::of(name.as_ref()), text)?;
    let key = file.data_key(&age(), &[])?;
    file.decrypt(&key)
}

fn decrypted(name: &str) -> Decrypted {
    read(name, &file(&format!("encrypted/{name}")))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn refused(name: &str, text: &str) -> Reason {
    match read(name, text.as_bytes()) {
        Ok(_) => panic!("accepted"),
        Err(refused) => refused.reason,
    }
}

/// One line per value and comment. Only for these tests: values are never printed.
fn shown(decrypted: &Decrypted) -> String {
    let mut lines = String::new();
    for members in &decrypted.documents {
        lines.push_str("document\n");
        map(members, "  ", &mut lines);
    }
    lines
}

fn map(members: &[Member], indent: &str, lines: &mut String) {
    for member in members {
        match member {
            Member::Comment(text) => comment(text, indent, lines),
            Member::Entry(key, value) => node(&format!("{indent}{key}:"), value, indent, lines),
        }
    }
}

fn node(start: &str, node: &Node, indent: &str, lines: &mut String) {
    let deeper = format!("{indent}  ");
    match node {
        Node::Map(members) => {
            writeln!(lines, "{start} map").unwrap();
            map(members, &deeper, lines);
        }
        Node::List(elements) => {
            writeln!(lines, "{start} list").unwrap();
            for element in elements {
                match element {
                    Element::Comment(text) => comment(text, &deeper, lines),
                    Element::Value(value) => {
                        self::node(&format!("{deeper}-"), value, &deeper, lines);
                    }
                }
            }
        }
        Node::Scalar(scalar) => {
            let value = String::from_utf8_lossy(scalar.value.expose());
            let kind = format!("{:?} {:?}", scalar.kind, scalar.protection).to_lowercase();
            writeln!(lines, "{start} \"{}\" {kind}", value.escape_debug()).unwrap();
        }
    }
}

fn comment(comment: &Comment, indent: &str, lines: &mut String) {
    let text = String::from_utf8_lossy(comment.text.expose());
    let kind = if comment.encrypted {
        "encrypted"
    } else {
        "unencrypted"
    };
    writeln!(lines, "{indent}#{text} {kind}").unwrap();
}

#[test]
fn all_kinds_of_values_are_read() {
    for name in ["all.yaml", "all.json", "all.env", "all.ini"] {
        insta::assert_snapshot!(name, shown(&decrypted(name)));
    }
}

#[test]
fn binary_content_is_exact() {
    let decrypted = decrypted("all.bin");
    let entries = sops::entries(&decrypted.documents[0]);
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].path, [Step::Key("data")]);
    assert!(entries[0].scalar.value.expose() == file("plain/all.bin"));
}

#[test]
fn text_is_that_of_sops_byte_by_byte() {
    for name in ["all.json", "all.env", "all.ini"] {
        let text = decrypted(name).text().expect(name);
        let expected = file(&format!("decrypted/{name}"));
        assert!(text.expose() == expected, "{name}");
    }
    assert!(decrypted("all.bin").text().expect("bytes").expose() == file("plain/all.bin"));
    assert_eq!(reason(decrypted("all.yaml").text()), Reason::NoExactText);
}

#[test]
fn every_rule_selects_what_sops_encrypted() {
    for name in [
        "encrypted-regex.yaml",
        "unencrypted-regex.yaml",
        "encrypted-suffix.yaml",
        "unencrypted-suffix.yaml",
        "encrypted-comment-regex.yaml",
        "unencrypted-comment-regex.yaml",
        "mac-only-encrypted.yaml",
    ] {
        insta::assert_snapshot!(name, shown(&decrypted(name)));
    }
}

#[test]
fn pgp_key_opens_a_file() {
    let file = File::parse(Format::Dotenv, &file("encrypted/pgp.env")).expect("a file");
    assert_eq!(reason(file.data_key(&age(), &[])), Reason::NoIdentityFits);
    let key = file.data_key(&pgp(), &[]).expect("a key");
    let decrypted = file.decrypt(&key).expect("a tree");
    // The same plain file as of all.env.
    insta::assert_snapshot!("all.env", shown(&decrypted));
}

#[test]
fn key_groups_need_as_many_as_the_threshold() {
    let file = File::parse(Format::Dotenv, &file("encrypted/groups.env")).expect("a file");
    assert_eq!(reason(file.data_key(&age(), &[])), Reason::NoIdentityFits);
    assert_eq!(reason(file.data_key(&pgp(), &[])), Reason::NoIdentityFits);
    let mut both = pgp();
    both.add_age(&self::file("age.txt")).expect("an identity");
    let key = file.data_key(&both, &[]).expect("a key");
    insta::assert_snapshot!("all.env", shown(&file.decrypt(&key).expect("a tree")));
}

#[test]
fn protected_and_unknown_private_keys_are_refused_by_name() {
    let mut identities = Identities::default();
    let mut pgp = |text: &[u8]| identities.add_pgp(text).map_err(|refused| refused.reason);
    assert_eq!(
        pgp(&file("pgp-passphrase.asc")),
        Err(Reason::PassphraseProtected)
    );
    assert_eq!(
        pgp(b"-----BEGIN PGP PUBLIC KEY BLOCK-----"),
        Err(Reason::InvalidIdentity)
    );
    assert_eq!(pgp(b""), Err(Reason::InvalidIdentity));
    let mut age = |text: &[u8]| identities.add_age(text).map_err(|refused| refused.reason);
    for (text, reason) in [
        (
            "-----BEGIN AGE ENCRYPTED FILE-----\n",
            Reason::PassphraseProtected,
        ),
        ("AGE-PLUGIN-YUBIKEY-1QQ", Reason::UnsupportedIdentity),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\n",
            Reason::UnsupportedIdentity,
        ),
        ("AGE-SECRET-KEY-1QQQ", Reason::InvalidIdentity),
        ("# only a comment\n", Reason::InvalidIdentity),
    ] {
        assert_eq!(age(text.as_bytes()), Err(reason), "{text}");
    }
}

#[test]
fn foreign_key_opens_nothing() {
    let file = File::parse(Format::Yaml, &file("encrypted/all.yaml")).expect("a file");
    assert_eq!(reason(file.data_key(&pgp(), &[])), Reason::NoIdentityFits);
    assert_eq!(
        reason(file.data_key(&Identities::default(), &[])),
        Reason::NoIdentityFits
    );
}

#[test]
fn answer_of_a_key_service_opens_the_file() {
    let file = File::parse(Format::Dotenv, &file("encrypted/groups.env")).expect("a file");
    let answer = |recipient, length| Answer {
        recipient,
        decrypted: Value::new(vec![1; length]),
    };
    // Parts of a key have one byte more than a key.
    let none = Identities::default();
    let key = |answers: &[Answer]| file.data_key(&none, answers);
    assert_eq!(reason(key(&[answer(0, 33)])), Reason::NoIdentityFits);
    assert_eq!(
        reason(key(&[answer(0, 33), answer(1, 33)])),
        Reason::InvalidDataKey
    );
    let other = Answer {
        recipient: 1,
        decrypted: Value::new(vec![2; 33]),
    };
    let wrong = key(&[answer(0, 33), other]).expect("a key");
    assert_eq!(reason(file.decrypt(&wrong)), Reason::NotAuthentic);
}

fn reason<T>(result: Result<T, Refused>) -> Reason {
    match result {
        Ok(_) => panic!("accepted"),
        Err(refused) => refused.reason,
    }
}

/// Replaces the only occurrence.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from}");
    text.replace(from, to)
}

/// The value of a line like `A=…`.
fn value_of<'a>(text: &'a str, key: &str) -> &'a str {
    let mut lines = text.lines();
    lines
        .find_map(|line| line.strip_prefix(key))
        .expect("a line")
}

fn expect_refused(name: &str, cases: &[(&str, String, Reason)]) {
    for (what, text, expected) in cases {
        assert_eq!(refused(name, text), *expected, "{what}");
    }
}

#[test]
fn changed_values_are_refused() {
    use Reason::{MacMismatch, MalformedValue, NotAuthentic, NotEncrypted};
    let text = text("encrypted/all.env");
    let [a, b, mac] = ["A=", "B=", "sops_mac="].map(|key| value_of(&text, key));
    let swapped = replaced(&replaced(&text, a, "X"), b, a).replace("A=X", &format!("A={b}"));
    let with = |from: &str, to: &str| replaced(&text, from, to);
    let cases = [
        ("two values swapped", swapped, NotAuthentic),
        ("a value of another key", with(a, b), NotAuthentic),
        ("the MAC as a value", with(a, mac), NotAuthentic),
        ("a truncated value", with(a, &a[..60]), MalformedValue),
        (
            "text after a value",
            with(a, &format!("{a}x")),
            MalformedValue,
        ),
        ("a plain value", with(a, "plain"), NotEncrypted),
        ("an emptied value", with(a, ""), MacMismatch),
        (
            "a changed plain value",
            with("=plain", "=other"),
            MacMismatch,
        ),
        (
            "a removed value",
            with(&format!("A={a}\n"), ""),
            MacMismatch,
        ),
        ("a renamed key", with("A=E", "G=E"), NotAuthentic),
        (
            "another type",
            with(
                &format!("A={a}"),
                &format!("A={}", a.replace("type:str", "type:x")),
            ),
            Reason::UnknownType,
        ),
        ("another order", reordered(&text), MacMismatch),
    ];
    expect_refused("all.env", &cases);
}

#[test]
fn changed_macs_are_refused() {
    use Reason::{InvalidMetadata, MacMismatch, MacMissing, MacUnreadable};
    let text = text("encrypted/all.env");
    let [a, mac] = ["A=", "sops_mac="].map(|key| value_of(&text, key));
    let with = |from: &str, to: &str| replaced(&text, from, to);
    let time = "sops_lastmodified=2";
    let only_encrypted = format!("{text}sops_mac_only_encrypted=true\n");
    let cases = [
        (
            "a removed MAC",
            with(&format!("sops_mac={mac}\n"), ""),
            MacMissing,
        ),
        ("an empty MAC", with(mac, ""), MacMissing),
        ("a truncated MAC", with(mac, &mac[..60]), MacUnreadable),
        ("a plain MAC", with(mac, "00"), MacUnreadable),
        ("a value as the MAC", with(mac, a), MacUnreadable),
        (
            "another time",
            with(time, "sops_lastmodified=1"),
            MacUnreadable,
        ),
        (
            "no valid time",
            with(time, "sops_lastmodified=x"),
            InvalidMetadata,
        ),
        (
            "no time",
            without(&text, "sops_lastmodified"),
            InvalidMetadata,
        ),
        ("another kind of MAC", only_encrypted, MacMismatch),
    ];
    expect_refused("all.env", &cases);
}

#[test]
fn changed_metadata_is_refused() {
    use Reason::{
        ConflictingRules, InvalidMetadata, InvalidRule, NoIdentityFits, NoMetadata, NoRecipients,
    };
    let text = text("encrypted/all.env");
    let with = |from: &str, to: &str| replaced(&text, from, to);
    let broken = with("unencrypted_suffix=_unencrypted", "encrypted_regex=(");
    let two = format!("{text}sops_encrypted_regex=.\n");
    let twice = format!("{text}sops_version=4\n");
    let cases = [
        (
            "another rule",
            with("=_unencrypted", "=A"),
            Reason::NotEncrypted,
        ),
        ("two rules", two, ConflictingRules),
        ("a broken rule", broken, InvalidRule),
        ("a field twice", twice, Reason::DuplicateKey),
        (
            "no version",
            without(&text, "sops_version"),
            InvalidMetadata,
        ),
        (
            "no semantic version",
            with("=3.11.0", "=3.011.0"),
            InvalidMetadata,
        ),
        ("no metadata", without(&text, "sops_"), NoMetadata),
        ("no recipients", without(&text, "sops_age"), NoRecipients),
        (
            "a truncated recipient",
            with("\\n-----END AGE", ""),
            NoIdentityFits,
        ),
    ];
    expect_refused("all.env", &cases);
}

/// Two lines in another order: each value is still authentic.
fn reordered(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let at = |key: &str| {
        lines
            .iter()
            .position(|line| line.starts_with(key))
            .expect(key)
    };
    let (a, b) = (at("A="), at("B="));
    lines.swap(a, b);
    lines.join("\n")
}

fn without(text: &str, start: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with(start));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_the_mac_does_not_cover_is_visible() {
    let text = text("encrypted/all.env");
    let changed = format!(
        "# note\nNEW=\n{}",
        replaced(&text, "E_unencrypted", "F_unencrypted")
    );
    let decrypted = read("all.env", changed.as_bytes()).expect("a valid MAC");
    let entries = sops::entries(&decrypted.documents[0]);
    let protection = |key| {
        let mut entries = entries.iter();
        let found = entries.find(|entry| entry.path == [Step::Key(key)]);
        found.expect(key).scalar.protection
    };
    assert_eq!(protection("NEW"), Protection::Empty);
    assert_eq!(protection("F_unencrypted"), Protection::Unencrypted);
    assert_eq!(protection("A"), Protection::Encrypted);
    let Member::Comment(comment) = &decrypted.documents[0][0] else {
        panic!("no comment");
    };
    assert!(!comment.encrypted);
}

#[test]
fn hostile_yaml_is_refused_by_name() {
    let deep = format!("a: {}{}", "[".repeat(200), "]".repeat(200));
    let long = format!("? {}\n: 1\n", "k".repeat(5000));
    for (text, expected) in [
        ("a: &x [1]\nb: *x\n", Reason::YamlAlias),
        ("a: *x\n", Reason::YamlAlias),
        ("a: &x 1\n", Reason::YamlAlias),
        ("&x a: 1\n", Reason::YamlAlias),
        ("a: !!binary aGk=\n", Reason::YamlTag),
        ("!!str a: 1\n", Reason::YamlTag),
        ("<<: {a: 1}\n", Reason::YamlMergeKey),
        ("1: a\n", Reason::KeyNotText),
        ("? [a]\n: b\n", Reason::KeyNotText),
        ("a: 1\na: 2\n", Reason::DuplicateKey),
        ("a: 1\n---\nb: {a: 1, a: 2}\n", Reason::DuplicateKey),
        ("- a\n", Reason::NotAMap),
        ("text\n", Reason::NotAMap),
        ("a: [\n", Reason::NotYaml),
        ("a: 2002-1-2\n", Reason::UnsupportedValue),
        (&*deep, Reason::TooDeep),
        (&*long, Reason::PathTooLong),
        ("a: 1\n", Reason::NoMetadata),
        ("", Reason::NoMetadata),
        ("sops: text\n", Reason::InvalidMetadata),
        ("sops: {age: text}\n", Reason::InvalidMetadata),
        ("sops: {age: [{recipient: a}]}\n", Reason::InvalidMetadata),
    ] {
        let shown: String = text.chars().take(60).collect();
        assert_eq!(refused("a.yaml", text), expected, "{shown}");
    }
    assert_eq!(
        reason(File::parse(Format::Yaml, b"a: \xff")),
        Reason::NotUtf8
    );
}

#[test]
fn hostile_json_and_dotenv_is_refused_by_name() {
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(200), "]".repeat(200));
    let long = format!("{{\"{}\": 1}}", "k".repeat(5000));
    let comments = "#\n".repeat(100_001);
    let large = "x".repeat(5 << 20);
    for (name, text, expected) in [
        ("a.json", "[]", Reason::NotAMap),
        ("a.json", "{\"a\": 1", Reason::NotJson),
        ("a.json", "{} {}", Reason::NotJson),
        ("a.json", "{\"a\": 1, \"a\": 2}", Reason::DuplicateKey),
        ("a.json", &*deep, Reason::TooDeep),
        ("a.json", &*long, Reason::PathTooLong),
        ("a.json", "{\"a\": 1e999}", Reason::UnsupportedValue),
        ("a.env", "no equals sign", Reason::NotDotenv),
        (
            "a.env",
            "sops_age__list_1__map_enc=x",
            Reason::InvalidMetadata,
        ),
        (
            "a.env",
            "sops_age=x\nsops_age__list_0__map_enc=x",
            Reason::InvalidMetadata,
        ),
        ("a.env", &*comments, Reason::TooManyValues),
        ("a.env", &*large, Reason::FileTooLarge),
    ] {
        let shown: String = text.chars().take(60).collect();
        assert_eq!(refused(name, text), expected, "{name}: {shown}");
    }
}

/// All kinds of recipients, with what their key services need.
#[test]
fn recipients_of_all_kinds_are_described() {
    let fields = "lastmodified: '2026-01-01T00:00:00Z'\n  mac: m\n  version: 3.11.0\n";
    let text = format!(
        "sops:\n  age: [{{recipient: age1x, enc: e}}]\n  pgp: [{{fp: F1, enc: e, created_at: '2026-01-01T00:00:00Z'}}]\n  \
         kms: [{{arn: 'arn:aws:kms:a', role: 'arn:aws:iam::1:role/r', context: {{app: shop}}, aws_profile: '', enc: AQI=}}]\n  \
         gcp_kms: [{{resource_id: projects/p, enc: AQI=}}]\n  \
         azure_kv: [{{vault_url: 'https://v', name: n, version: '1', enc: AQI_}}]\n  \
         hc_vault: [{{vault_address: 'https://bao', engine_path: transit, key_name: k, enc: 'vault:v1:x'}}]\n  \
         hckms: [{{key_id: 'region:k', enc: e}}]\n  {fields}"
    );
    let file = File::parse(Format::Yaml, text.as_bytes()).expect("a file");
    insta::assert_debug_snapshot!("recipients", file.recipients());
    assert_eq!(
        reason(file.data_key(&Identities::default(), &[])),
        Reason::NoIdentityFits
    );
}

#[test]
fn unsupported_and_incomplete_recipients_are_refused_by_name() {
    let fields = "lastmodified: '2026-01-01T00:00:00Z'\n  mac: m\n  version: 3.11.0\n";
    let parse = |recipients: &str| {
        let text = format!("sops:\n  {recipients}\n  {fields}");
        File::parse(Format::Yaml, text.as_bytes())
    };
    let huawei = parse("hckms: [{key_id: 'region:k', enc: e}]").expect("a file");
    assert_eq!(
        reason(huawei.data_key(&age(), &[])),
        Reason::UnsupportedRecipients
    );
    for (recipients, expected) in [
        ("kms: [{arn: a, enc: '?'}]", Reason::InvalidMetadata),
        ("kms: [{enc: AQI=}]", Reason::InvalidMetadata),
        ("azure_kv: [{name: n, enc: AQI_}]", Reason::InvalidMetadata),
        ("hc_vault: [{key_name: k}]", Reason::InvalidMetadata),
        ("age: []", Reason::NoRecipients),
        ("key_groups: []", Reason::NoRecipients),
        ("key_groups: [{age: []}]", Reason::NoRecipients),
    ] {
        assert_eq!(reason(parse(recipients)), expected, "{recipients}");
    }
    let many = vec!["{recipient: a, enc: e}"; 257].join(", ");
    assert_eq!(
        reason(parse(&format!("age: [{many}]"))),
        Reason::TooManyRecipients
    );
}
