use std::sync::Arc;

use proptest::prelude::*;
use secret::Value;
use serde_json::json;

use super::*;
use crate::target::{Format, Store, Target};

use ProviderKind::{AzureKeyVault, GcpSecretManager, ParameterStore, SecretsManager, Vault};

const ALL: [ProviderKind; 5] = [
    SecretsManager,
    ParameterStore,
    AzureKeyVault,
    GcpSecretManager,
    Vault,
];

fn naming(prefix: &str, suffix: &str, style: Style) -> Naming {
    Naming {
        prefix: prefix.to_owned(),
        suffix: suffix.to_owned(),
        style,
    }
}

/// Returns the name, or the reason.
fn name(provider: &ProviderKind, naming: &Naming, key: &str) -> String {
    match naming.name(provider, Some(key)) {
        Ok(name) => name,
        Err(InvalidName { reason, message }) => {
            assert!(!message.is_empty());
            format!("!{}", reason.into_str())
        }
    }
}

fn wanted(
    provider: &ProviderKind,
    item: &str,
    name: &str,
    property: Option<&str>,
    value: &[u8],
) -> Wanted {
    Wanted {
        target: Target {
            store: Arc::new(Store {
                provider: provider.clone(),
                ..Store::new("store", SecretsManager, &json!({})).unwrap()
            }),
            name: name.to_owned(),
            property: property.map(str::to_owned),
        },
        value: Value::from(value),
        format: Format::Secret,
        origin: Origin {
            item: item.to_owned(),
            file: format!("{item}.env"),
            key: name.to_owned(),
            revision: None,
        },
    }
}

fn reasons(wanted: &[Wanted]) -> Vec<&'static str> {
    check(wanted)
        .iter()
        .map(|problem| problem.reason.into_str())
        .collect()
}

#[test]
fn join_and_path_change_nothing() {
    let join = naming("idam-dev", "v1", Style::Join);
    assert_eq!(
        name(&GcpSecretManager, &join, "DB_URL"),
        "idam-dev-DB_URL-v1"
    );
    assert_eq!(
        name(&GcpSecretManager, &naming("", "", Style::Join), "--a--"),
        "--a--"
    );
    assert_eq!(name(&GcpSecretManager, &join, "a.b"), "!invalid-name");
    let path = naming("idam/dev", "v1", Style::Path);
    assert_eq!(name(&Vault, &path, "db.url"), "idam/dev/db.url/v1");
    assert_eq!(name(&SecretsManager, &path, "db.url"), "idam/dev/db.url/v1");
    assert_eq!(
        name(&ParameterStore, &path, "db.url"),
        "/idam/dev/db.url/v1"
    );
    assert_eq!(
        name(&ParameterStore, &naming("/idam", "", Style::Path), "a"),
        "/idam/a"
    );
    assert_eq!(path.name(&Vault, None).as_deref(), Ok("idam/dev/v1"));
}

/// Expected names are those of the function `construct_secret_name` of the Secret Manager Controller.
#[test]
fn smc_names_are_those_of_the_controller() {
    for (prefix, key, suffix, expected) in [
        ("p", "DB_URL", "", "p-DB_URL"),
        ("p", "k", "s", "p-k-s"),
        ("p", "k", "-s", "p-k-s"),
        ("p", "k", "--s", "p-k-s"),
        ("p", "k", "-", "p-k"),
        ("", "k", "-s", "k-s"),
        ("", "k", "", "k"),
        ("my.app", "a.b/c d", "", "my_app-a_b_c_d"),
        ("p", "a@b:c", "", "p-a_b_c"),
        ("p-", "-k", "", "p-k"),
        ("--p", "k--", "", "p-k"),
        ("p", "a[0].b", "", "p-a_0__b"),
        ("p", "a__b", "", "p-a__b"),
        ("p", "", "", "p"),
        ("p", "", "s", "p-s"),
    ] {
        assert_eq!(
            name(&GcpSecretManager, &naming(prefix, suffix, Style::Smc), key),
            expected
        );
    }
}

#[test]
fn smc_keeps_letters_of_all_alphabets_and_providers_refuse_them() {
    let smc = naming("p", "", Style::Smc);
    for provider in [
        SecretsManager,
        GcpSecretManager,
        AzureKeyVault,
        ParameterStore,
    ] {
        assert_eq!(name(&provider, &smc, "clé"), "!invalid-name");
    }
    assert_eq!(name(&Vault, &smc, "clé"), "p-clé");
    assert_eq!(name(&AzureKeyVault, &smc, "A_B"), "!invalid-name");
    assert_eq!(
        name(&GcpSecretManager, &naming("", "", Style::Smc), "---"),
        "!invalid-name"
    );
}

#[test]
fn smc_parameters_are_paths() {
    for (prefix, key, expected) in [
        ("/idam/dev", "a.b/c", "/idam/dev/a_b_c"),
        ("idam/dev", "a", "/idam/dev/a"),
        ("/idam/dev", "a-b_c", "/idam/dev/a-b_c"),
        ("/idam", "a b", "!invalid-name"),
    ] {
        assert_eq!(
            name(
                &ParameterStore,
                &naming(prefix, "-ignored", Style::Smc),
                key
            ),
            expected
        );
    }
}

#[test]
fn each_provider_refuses_other_characters() {
    let plain = naming("", "", Style::Join);
    for (provider, allowed) in [
        (SecretsManager, "/_+=.@-"),
        (ParameterStore, "_.-"),
        (AzureKeyVault, "-"),
        (GcpSecretManager, "_-"),
        (Vault, "_.@:+=~ -/é"),
    ] {
        for c in " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~é\u{0}\n".chars() {
            let key = format!("a{c}b");
            let is_allowed = allowed.contains(c);
            assert_eq!(
                plain.name(&provider, Some(&key)).is_ok(),
                is_allowed,
                "{provider:?} {c:?}"
            );
        }
    }
}

#[test]
fn length_is_limited_by_the_provider() {
    let plain = naming("", "", Style::Join);
    for (provider, longest) in [
        (SecretsManager, 512),
        (ParameterStore, 956),
        (AzureKeyVault, 127),
        (GcpSecretManager, 255),
        (Vault, 1024),
    ] {
        assert_eq!(name(&provider, &plain, &"a".repeat(longest)).len(), longest);
        assert_eq!(
            name(&provider, &plain, &"a".repeat(longest + 1)),
            "!name-too-long"
        );
        assert_eq!(name(&provider, &plain, ""), "!invalid-name");
    }
}

#[test]
fn name_that_ends_like_an_arn_is_reserved() {
    let plain = naming("", "", Style::Join);
    for key in ["x-abcdef", "x-APIKEY", "x-123456", "-abcdef"] {
        assert_eq!(
            name(&SecretsManager, &plain, key),
            "!reserved-name",
            "{key}"
        );
        assert_eq!(name(&GcpSecretManager, &plain, key), key);
    }
    for key in [
        "x-abcde",
        "x-abcdefg",
        "x-DB_URL",
        "abcdef",
        "x/abcdef",
        "x-abcdef/y",
    ] {
        assert_eq!(name(&SecretsManager, &plain, key), key);
    }
    // The Secret Manager Controller has created such secrets.
    assert_eq!(
        name(&SecretsManager, &naming("p", "", Style::Smc), "APIKEY"),
        "p-APIKEY"
    );
}

#[test]
fn parameters_have_reserved_prefixes_and_levels() {
    let plain = naming("", "", Style::Join);
    for key in ["aws", "AWSx", "/aws/x", "/Ssm/x", "ssmKey"] {
        assert_eq!(
            name(&ParameterStore, &plain, key),
            "!reserved-name",
            "{key}"
        );
    }
    let levels = |count: usize| "/a".repeat(count);
    for key in ["a/b", "/a//b", "/a/", "/", "//a", &levels(16)] {
        assert_eq!(name(&ParameterStore, &plain, key), "!invalid-name", "{key}");
    }
    for key in ["a", "/a", "/a/aws", "xaws", &levels(15)] {
        assert_eq!(name(&ParameterStore, &plain, key), key);
    }
}

#[test]
fn vault_paths_have_no_empty_or_relative_parts() {
    let plain = naming("", "", Style::Join);
    for key in ["a//b", "/a", "a/", "a/../b", ".", "a/./b", " a", "a /b"] {
        assert_eq!(name(&Vault, &plain, key), "!invalid-name", "{key}");
    }
}

#[test]
fn other_providers_are_unsupported() {
    for provider in [
        ProviderKind::Kubernetes,
        ProviderKind::Fake,
        ProviderKind::Other("x".to_owned()),
    ] {
        assert_eq!(
            name(&provider, &Naming::default(), "a"),
            "!unsupported-provider"
        );
        assert_eq!(
            reasons(&[wanted(&provider, "i", "a", None, b"x")]),
            ["unsupported-provider"]
        );
    }
}

#[test]
fn collisions_concern_both_values_and_name_the_other() {
    for (provider, one, other) in [
        (AzureKeyVault, "Db", "db"),
        (ParameterStore, "/db", "db"),
        (Vault, "a/b", "a//b"),
        (GcpSecretManager, "a", "a"),
    ] {
        let wanted = [
            wanted(&provider, "first", one, None, b"1"),
            wanted(&provider, "second", other, None, b"1"),
            wanted(&provider, "third", "x", None, b"1"),
        ];
        let problems = check(&wanted);
        let pairs: Vec<_> = problems
            .iter()
            .map(|problem| {
                (
                    problem.reason,
                    problem.origin.item.as_str(),
                    problem.other.as_ref().map(|other| other.file.as_str()),
                )
            })
            .collect();
        assert_eq!(
            pairs,
            [
                (Unpublishable::Collision, "first", Some("second.env")),
                (Unpublishable::Collision, "second", Some("first.env")),
            ]
        );
        assert!(
            items_with_collisions(&problems)
                .into_iter()
                .eq(["first", "second"])
        );
    }
}

#[test]
fn names_that_become_equal_collide() {
    let smc = naming("p", "", Style::Smc);
    let of = |key: &str| {
        wanted(
            &GcpSecretManager,
            "i",
            &name(&GcpSecretManager, &smc, key),
            None,
            b"1",
        )
    };
    assert_eq!(reasons(&[of("a.b"), of("a_b")]), ["collision"; 2]);
    assert_eq!(reasons(&[of("a.b"), of("a-b")]), [""; 0]);
}

#[test]
fn keys_of_a_document_collide_only_if_equal() {
    let of = |property| wanted(&Vault, "i", "a", property, b"1");
    assert_eq!(reasons(&[of(Some("k")), of(Some("K"))]), [""; 0]);
    assert_eq!(reasons(&[of(Some("k")), of(Some("k"))]), ["collision"; 2]);
    assert_eq!(reasons(&[of(Some("k")), of(None)]), ["collision"; 2]);
    assert_eq!(
        reasons(&[of(Some("k")), of(Some("l")), of(None)]),
        ["collision"; 3]
    );
}

#[test]
fn size_is_limited_by_the_provider() {
    for (provider, limit) in [
        (SecretsManager, 65_536),
        (ParameterStore, 4_096),
        (AzureKeyVault, 25_600),
        (GcpSecretManager, 65_536),
        (Vault, 1_024_000),
    ] {
        let of = |size: usize| reasons(&[wanted(&provider, "i", "a", None, &vec![b'x'; size])]);
        assert_eq!(of(limit), [""; 0]);
        assert_eq!(of(limit + 1), ["value-too-large"]);
    }
}

#[test]
fn documents_are_limited_as_a_whole() {
    let of = |property, size: usize| {
        wanted(
            &SecretsManager,
            "i",
            "a",
            Some(property),
            &vec![b'\n'; size],
        )
    };
    // {"k":"…","l":"…",} with two bytes for each line feed.
    let fits = (65_536 - 2 - 2 * 7) / 4;
    assert_eq!(reasons(&[of("k", fits), of("l", fits)]), [""; 0]);
    assert_eq!(
        reasons(&[of("k", fits), of("l", fits + 1)]),
        ["value-too-large"; 2]
    );
}

#[test]
fn text_only_providers_refuse_bytes() {
    let bytes = [0xff, 0];
    for provider in ALL {
        let is_binary = matches!(provider, SecretsManager | GcpSecretManager);
        let expected: &[&str] = if is_binary { &[] } else { &["value-not-text"] };
        assert_eq!(
            reasons(&[wanted(&provider, "i", "a", None, &bytes)]),
            expected,
            "{provider:?}"
        );
        assert_eq!(
            reasons(&[wanted(&provider, "i", "a", Some("k"), &bytes)]),
            ["value-not-text"]
        );
    }
}

#[test]
fn values_that_aws_refuses_are_not_sent() {
    for provider in [SecretsManager, ParameterStore] {
        assert_eq!(
            reasons(&[wanted(&provider, "i", "a", None, b"")]),
            ["invalid-value"]
        );
    }
    assert_eq!(
        reasons(&[wanted(&ParameterStore, "i", "a", None, b"x {{ssm:/a}}")]),
        ["invalid-value"]
    );
    assert_eq!(
        reasons(&[wanted(&SecretsManager, "i", "a", None, b"x {{ssm:/a}}")]),
        [""; 0]
    );
}

#[test]
fn problems_show_no_value() {
    let wanted = [
        wanted(&ParameterStore, "i", "a", None, b"hunter2 {{ssm:"),
        wanted(&ParameterStore, "j", "a", None, b"hunter2"),
    ];
    for problem in check(&wanted) {
        assert!(!format!("{problem} {problem:?}").contains("hunter2"));
    }
}

fn style() -> impl Strategy<Value = Style> {
    prop_oneof![Just(Style::Join), Just(Style::Smc), Just(Style::Path)]
}

proptest! {
    /// Two keys of any items have different names at the provider, or each is refused or reported as a collision.
    #[test]
    fn names_are_injective_or_refused(
        provider in proptest::sample::select(ALL.to_vec()),
        items in proptest::collection::vec(("[aB./-]{0,3}", "[a-]{0,2}", style(), "[aAb._/ é-]{0,4}"), 2..8),
    ) {
        let names = items.iter().enumerate().filter_map(|(index, (prefix, suffix, style, key))| {
            let name = naming(prefix, suffix, *style).name(&provider, Some(key)).ok()?;
            Some(wanted(&provider, &index.to_string(), &name, None, b"x"))
        });
        let names: Vec<Wanted> = names.collect();
        let problems = check(&names);
        let collided = items_with_collisions(&problems);
        for one in &names {
            for other in &names {
                let is_same = one.origin != other.origin && one.target == other.target;
                prop_assert!(!is_same || collided.contains(one.origin.item.as_str()));
            }
        }
        // No collision without cause.
        for problem in &problems {
            let target = |origin: &Origin| names.iter().find(|name| name.origin == *origin).map(|name| &name.target);
            prop_assert_eq!(target(&problem.origin), problem.other.as_ref().and_then(target));
        }
    }

    #[test]
    fn arbitrary_names_do_not_panic(prefix in ".{0,9}", key in ".{0,20}", suffix in ".{0,9}", style in style()) {
        for provider in ALL {
            drop(naming(&prefix, &suffix, style).name(&provider, Some(&key)));
        }
    }

    /// What is accepted is what the provider accepts.
    #[test]
    fn accepted_names_have_the_providers_characters(key in ".{0,12}", style in style()) {
        for (provider, pattern) in [
            (SecretsManager, "/_+=.@-"), (ParameterStore, "_.-/"), (AzureKeyVault, "-"), (GcpSecretManager, "_-"),
        ] {
            if let Ok(name) = naming("p", "s", style).name(&provider, Some(&key)) {
                prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || pattern.contains(c)));
            }
        }
    }
}

#[test]
fn advanced_parameters_may_be_larger() {
    let value = vec![b'x'; 5 << 10];
    let of = |advanced: bool| {
        let mut one = wanted(&ParameterStore, "item", "/a/b", None, &value);
        let store = Store::clone(&one.target.store);
        one.target.store = Arc::new(Store { advanced, ..store });
        reasons(&[one])
    };
    assert_eq!(of(false), ["value-too-large"]);
    assert_eq!(of(true), [""; 0]);
}
