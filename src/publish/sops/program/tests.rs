//! The real sops.

use std::{collections::BTreeMap, fs, path::Path};

use secret::Value;

use super::Printed;
use crate::publish::program::tests::{real, tree};

async fn decrypted(
    keys: &[&str],
    files: &[(&str, &str)],
) -> BTreeMap<String, Result<Vec<u8>, &'static str>> {
    let tree = tree(files);
    let mut printed = Printed::default();
    for (path, _) in files {
        assert!(printed.of(path).is_none());
    }
    let keys: Vec<Value> = keys.iter().map(|key| Value::from(*key)).collect();
    printed.run(&real("ESO_SYNC_TEST_SOPS"), &keys, &tree).await;
    assert!(!printed.is_asked_for());
    let result = |path: &str| match printed.of(path) {
        Some(Ok(text)) => Ok(text.expose().to_vec()),
        Some(Err(unopened)) => {
            assert!(
                !unopened.message.contains("hunter2"),
                "{}",
                unopened.message
            );
            Err(unopened.reason)
        }
        None => unreachable!("it was not started for {path}"),
    };
    files
        .iter()
        .map(|(path, _)| ((*path).to_owned(), result(path)))
        .collect()
}

fn of_sops(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("crates/sops/tests/files")
        .join(name);
    fs::read_to_string(path).unwrap()
}

#[tokio::test]
#[ignore = "needs sops (tests/cluster/run)"]
async fn sops_decrypts_every_format_with_the_keys_of_the_item() {
    let names = [
        "all.yaml",
        "all.json",
        "all.env",
        "all.ini",
        "all.bin",
        "groups.env",
        "pgp.env",
    ];
    let contents: Vec<String> = names
        .iter()
        .map(|name| of_sops(&format!("encrypted/{name}")))
        .collect();
    let files: Vec<(&str, &str)> = names
        .iter()
        .zip(&contents)
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    let found = decrypted(
        &[&of_sops("age.txt"), "other data", &of_sops("pgp.asc")],
        &files,
    )
    .await;
    for (name, result) in found {
        let expected = fs::read(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("crates/sops/tests/files/decrypted")
                .join(&name),
        );
        match (result, expected) {
            (Ok(text), Ok(expected)) => assert_eq!(text, expected, "{name}"),
            (Ok(text), Err(_)) => assert!(!text.is_empty(), "{name}"),
            (Err(reason), _) => unreachable!("{name}: {reason}"),
        }
    }
}

#[tokio::test]
#[ignore = "needs sops (tests/cluster/run)"]
async fn sops_refuses_other_keys_and_changed_files_by_a_reason() {
    let file = of_sops("encrypted/all.env");
    let (age, pgp) = (of_sops("age.txt"), of_sops("pgp.asc"));
    let lines: Vec<&str> = file.lines().collect();
    let swapped = [&[lines[0], lines[2], lines[1]], &lines[3..]]
        .concat()
        .join("\n");
    let without_mac = file
        .lines()
        .filter(|line| !line.starts_with("sops_mac="))
        .collect::<Vec<_>>()
        .join("\n");
    let found = decrypted(
        &[&age],
        &[
            ("good.env", &file),
            ("swapped.env", &swapped),
            ("without.env", &without_mac),
        ],
    )
    .await;
    assert!(found["good.env"].is_ok());
    assert_eq!(found["swapped.env"], Err("mac-mismatch"));
    assert_eq!(found["without.env"], Err("mac-missing"));
    let other = decrypted(&[&pgp], &[("good.env", &file)]).await;
    assert_eq!(other["good.env"], Err("no-identity-fits"));
    let none = decrypted(&[], &[("good.env", &file)]).await;
    assert_eq!(none["good.env"], Err("no-identity-fits"));
}
