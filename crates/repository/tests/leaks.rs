//! A planted value, in files of every format and with every kind of mistake, is in no fault.
#![cfg(test)]

use std::collections::BTreeSet;

use proptest::prelude::*;
use repository::{
    Contents, Decrypted, Dialect, Fault, File, Format, ProfileFolders, Source, Tree, kustomize,
    read_files, smc, stops,
};
use secret::Value;
use strum::IntoEnumIterator as _;

/// It looks like no key, because a key that looks like a name is shown.
const PLANTED: &str = "hunter2+/";

/// Parts of files, most of them wrong in some format.
const PARTS: &[&str] = &[
    PLANTED,
    "A",
    "=",
    ":",
    " ",
    "\n",
    "\r",
    "\\",
    "\"",
    "'",
    "`",
    "{",
    "}",
    "[",
    "]",
    ",",
    "- ",
    "#",
    "!",
    "&a ",
    "*a ",
    "|\n  ",
    ">\n  ",
    "<<",
    "null",
    "ENC[AES256_GCM,",
    "sops",
    "apiVersion: v1\n",
    "kind: Secret\n",
    "kind: SecretManagerConfig\n",
    "metadata: {name: s}\n",
    "data:\n  ",
    "stringData:\n  ",
    "spec:\n  ",
    "secretGenerator:\n- name: s\n  ",
    "literals: ",
    "envs: ",
    "files: ",
    "resources: ",
    "patches:\n- ",
    "target: ",
    "patch: ",
    "path: ",
    "op: add\n  ",
    "value: ",
    "---\n",
    "apiVersion: secret-management.microscaler.io/v1\n",
    "sourceRef: ",
    "provider: ",
    "\\u00",
    "/",
    "file",
];

fn file() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(PARTS), 0..24)
        .prop_map(|parts| parts.concat())
}

fn faults(content: &[u8], is_sops: bool) -> Vec<Fault> {
    let folder = "a/deployment-configuration/profiles/dev";
    let mut tree = Tree::default();
    for path in ["file", "kustomization.yaml"] {
        tree.insert(path, Value::from(content))
            .expect("a valid path");
    }
    for name in [
        "application.secrets.env",
        "application.secrets.yaml",
        "application.properties",
    ] {
        tree.insert(&format!("{folder}/{name}"), Value::from(content))
            .expect("a valid path");
    }
    let source = Source {
        tree: &tree,
        decrypt: &|_, content| {
            Ok(if is_sops {
                Decrypted::Sops {
                    text: Value::from(content),
                    is_exact: true,
                    unencrypted: BTreeSet::new(),
                }
            } else {
                Decrypted::NotSops
            })
        },
    };
    let mut faults = Vec::new();
    for format in Format::iter() {
        for dialect in Dialect::iter().map(Some).chain([None]) {
            let file = File {
                path: "file",
                format: Some(format),
                dialect,
            };
            let Contents {
                entries,
                faults: found,
            } = read_files(source, &[file]);
            faults.extend(found);
            faults.extend(stops(&entries));
        }
    }
    let folders = ProfileFolders {
        base_path: "",
        environment: "dev",
        dialect: Some(Dialect::Smc),
    };
    faults.extend(folders.read(source).faults);
    faults.extend(kustomize(source, "").err());
    let manifests = smc::parse("file", Value::from(content));
    faults.extend(manifests.faults);
    faults.extend(manifests.warnings);
    faults
}

proptest! {
    #[test]
    fn planted_value_is_in_no_fault(content in file(), is_sops: bool) {
        for fault in faults(content.as_bytes(), is_sops) {
            let shown = format!("{fault} {fault:?}");
            prop_assert!(!shown.contains(PLANTED), "{shown}");
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(content in proptest::collection::vec(any::<u8>(), 0..64), is_sops: bool) {
        faults(&content, is_sops);
    }
}

#[test]
fn faults_are_found_at_all() {
    let content = format!("A={PLANTED} \nA={PLANTED}\\n\n{PLANTED}: [");
    assert!(faults(content.as_bytes(), false).len() > 10);
}
