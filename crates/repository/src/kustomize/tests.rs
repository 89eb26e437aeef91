//! Most rules are in `tests/kustomize/corpus.txt`, which is compared with the real program. Here: what it cannot show.

use std::collections::BTreeSet;

use proptest::prelude::*;
use secret::Value;

use super::*;
use crate::{Decrypted, Tree, Undecrypted};

fn tree(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::default();
    for (path, content) in files {
        tree.insert(path, Value::from(*content))
            .expect("a valid path");
    }
    tree
}

/// Decrypts files that start with `SOPS`: the rest of the first line names the values in plain text.
fn decrypt(_: &str, content: &[u8]) -> Result<Decrypted, Undecrypted> {
    let text = std::str::from_utf8(content).unwrap_or_default();
    let Some(rest) = text.strip_prefix("SOPS ") else {
        return Ok(Decrypted::NotSops);
    };
    let (unencrypted, text) = rest.split_once('\n').unwrap_or_default();
    if unencrypted == "broken" {
        return Err(Undecrypted {
            reason: "mac-mismatch",
            message: "the MAC differs".to_owned(),
        });
    }
    Ok(Decrypted::Sops {
        text: Value::from(text),
        is_exact: unencrypted != "yaml",
        unencrypted: unencrypted
            .split(' ')
            .map(str::to_owned)
            .filter(|key| !key.is_empty())
            .collect::<BTreeSet<_>>(),
    })
}

/// Returns each entry as `FILE:LINE KEY=VALUE`, with `!` in front if it is encrypted; or the fault.
fn build(files: &[(&str, &str)], folder: &str) -> Vec<String> {
    let tree = tree(files);
    let source = Source {
        tree: &tree,
        decrypt: &decrypt,
    };
    let entry = |entry: &Entry| {
        let mark = if entry.encrypted { "!" } else { "" };
        let line = entry
            .line
            .map(|line| format!(":{line}"))
            .unwrap_or_default();
        format!("{mark}{}{line} {}={}", entry.file, entry.key, entry.text())
    };
    match kustomize(source, folder) {
        Ok(secrets) => secrets
            .iter()
            .flat_map(|secret| &secret.entries)
            .map(entry)
            .collect(),
        Err(fault) => vec![format!("{fault} ({})", fault.reason.word())],
    }
}

#[test]
fn sops_files_are_decrypted_as_read() {
    let found = build(
        &[
            (
                "kustomization.yaml",
                "resources: [s.yaml]\nsecretGenerator:\n- {name: g, envs: [a.env], files: [f.txt, p.txt], literals: [L=1]}\npatches: [{path: patch.yaml}]",
            ),
            (
                "s.yaml",
                "SOPS stringData.B\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  A: a\n  B: b\n  C: c",
            ),
            (
                "patch.yaml",
                "SOPS \napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  C: patched",
            ),
            ("a.env", "SOPS E2\nE1=1\nE2=2"),
            ("f.txt", "SOPS \nfile"),
            ("p.txt", "SOPS x\nfile"),
        ],
        "",
    );
    assert_eq!(
        found,
        [
            "!s.yaml:5 A=a",
            "s.yaml:6 B=b",
            "!patch.yaml:5 C=patched",
            "!a.env:1 E1=1",
            "a.env:2 E2=2",
            "kustomization.yaml:3 L=1",
            "!f.txt f.txt=file",
            "p.txt p.txt=file",
        ]
    );
}

/// sops writes YAML in a notation of its own. The data of such a file is certain, its text is not.
#[test]
fn encrypted_yaml_is_not_a_value() {
    let secret = "SOPS yaml\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {A: a}";
    for (kustomization, expected) in [
        ("resources: [s.yaml]", "!s.yaml:4 A=a"),
        (
            "secretGenerator: [{name: g, files: [s.yaml]}]",
            "(no-exact-text)",
        ),
        (
            "secretGenerator: [{name: g, envs: [s.yaml]}]",
            "(no-exact-text)",
        ),
    ] {
        let found = build(
            &[("kustomization.yaml", kustomization), ("s.yaml", secret)],
            "",
        );
        assert!(found[0].ends_with(expected), "{found:?}");
    }
}

/// The real kustomize reads such a file, too, so what it prints is searched for its text.
#[test]
fn encrypted_yaml_is_no_value_of_the_real_kustomize() {
    let tree = tree(&[
        ("kustomization.yaml", "files: [s.yaml]"),
        ("s.yaml", "SOPS yaml\nA: a\n"),
    ]);
    let source = Source {
        tree: &tree,
        decrypt: &decrypt,
    };
    let Ok(decrypted) = decrypted_files(source, "") else {
        panic!("it is decrypted");
    };
    let printed = |data: &str| {
        let text = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata: {{{data}}}");
        let secrets = printed_secrets("", Value::from(text.as_str()), &decrypted);
        secrets.err().map(|fault| (fault.file, fault.reason.word()))
    };
    assert_eq!(printed("k: YQ=="), None);
    // `A: a` and a line feed.
    let whole = printed("k: QTogYQo=");
    assert_eq!(whole, Some(("s.yaml".to_owned(), "no-exact-text")));
}

#[test]
fn values_in_a_list_of_objects_have_their_own_place() {
    let list = "SOPS items[1].data.A\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: a}, data: {A: YQ==}}\n- {apiVersion: v1, kind: Secret, metadata: {name: b}, data: {A: YQ==}}";
    let found = build(
        &[
            ("kustomization.yaml", "resources: [s.yaml]"),
            ("s.yaml", list),
        ],
        "",
    );
    assert_eq!(found, ["!s.yaml:3 A=a", "s.yaml:4 A=a"]);
}

#[test]
fn a_file_that_cannot_be_decrypted_is_a_fault() {
    let generator = (
        "kustomization.yaml",
        "secretGenerator: [{name: s, envs: [a.env]}]",
    );
    assert_eq!(
        build(&[generator, ("a.env", "SOPS broken\n")], ""),
        ["a.env: the MAC differs (mac-mismatch)"]
    );
}

#[test]
fn faults_name_the_file_the_line_and_the_field() {
    for (files, expected) in [
        (
            [
                (
                    "a/kustomization.yaml",
                    "secretGenerator: []\n\nhelmCharts:\n- {name: x}",
                ),
                ("b", ""),
            ],
            "a/kustomization.yaml:3: helmCharts: this field is not supported; remove it, or use the real kustomize (kustomize-unsupported)",
        ),
        (
            [
                ("a/kustomization.yaml", "resources:\n- s.yaml\n- ../b"),
                ("a/s.yaml", ""),
            ],
            "a/kustomization.yaml:3: refers to a file or folder that does not exist in the repository (not-found)",
        ),
        (
            [
                ("a/kustomization.yaml", "resources: [s.yaml]"),
                (
                    "a/s.yaml",
                    "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  A: hunter2!",
                ),
            ],
            "a/s.yaml:5: A: the value below `data` is not base64; use `stringData` for plain text (invalid-base64)",
        ),
        (
            [
                (
                    "a/kustomization.yaml",
                    "secretGenerator:\n- name: s\n  literals:\n  - A=1\n  - hunter2",
                ),
                ("b", ""),
            ],
            "a/kustomization.yaml:5: a literal needs the form KEY=VALUE (kustomize-invalid)",
        ),
        (
            [
                (
                    "a/kustomization.yaml",
                    "secretGenerator: [{name: s}]\npatches:\n- target: {kind: Secret}\n  patch: |-\n    - op: add\n      path: /data/A\n      value: hunter2!",
                ),
                ("b", ""),
            ],
            "a/kustomization.yaml:5: A: the value below `data` is not base64; use `stringData` for plain text (invalid-base64)",
        ),
    ] {
        let found = build(&files, "a").concat();
        assert!(!found.contains("hunter2"), "{found}");
        assert_eq!(found, expected);
    }
}

#[test]
fn linked_files_are_named() {
    let mut tree = tree(&[("kustomization.yaml", "resources: [s.yaml]")]);
    tree.insert_link("s.yaml").expect("a valid path");
    let source = Source {
        tree: &tree,
        decrypt: &decrypt,
    };
    assert_eq!(
        kustomize(source, "").err().map(|fault| fault.reason),
        Some(Reason::SymbolicLink)
    );
}

#[test]
fn number_of_kustomizations_is_limited() {
    // Each folder refers to the next one twice, so the number doubles with each.
    let mut tree = Tree::default();
    for level in 0..20 {
        let next = level + 1;
        let text = format!("resources: [../{next}/a, ../{next}/b]");
        for name in ["a", "b"] {
            let path = format!("{level}/{name}/kustomization.yaml");
            let text = text.replace("../", "../../");
            tree.insert(&path, Value::from(text.as_str()))
                .expect("a valid path");
        }
    }
    for name in ["a", "b"] {
        tree.insert(
            &format!("20/{name}/kustomization.yaml"),
            Value::from("namePrefix: x"),
        )
        .expect("a valid path");
    }
    let source = Source {
        tree: &tree,
        decrypt: &decrypt,
    };
    assert_eq!(
        kustomize(source, "0/a").err().map(|fault| fault.reason),
        Some(Reason::TooLarge)
    );
}

proptest! {
    #[test]
    fn arbitrary_files_do_not_panic(
        kustomization in "((resources|secretGenerator|patches|namePrefix|kind|data|name|- |: |\\[|\\]|\\{|\\}|s.yaml|\n| |.){0,20})",
        resource in "((apiVersion|v1|kind|Secret|List|items|metadata|name|data|stringData|: |- |\n| |null|YQ==|.){0,20})",
    ) {
        build(&[("kustomization.yaml", &kustomization), ("s.yaml", &resource)], "");
        let fixed = "resources: [s.yaml]\npatches: [{path: s.yaml}, {target: {kind: Secret}, path: s.yaml}]";
        build(&[("kustomization.yaml", fixed), ("s.yaml", &resource)], "");
    }

    #[test]
    fn arbitrary_patches_do_not_panic(
        field in prop_oneof![Just("data"), Just("stringData"), Just("metadata"), Just("x")],
        op in prop_oneof![Just("add"), Just("remove"), Just("replace"), Just("copy")],
        rest in "[/a-c~01]{0,6}",
        value in "(null|YQ==|1|\\{\\}|\\[\\]|\\{a: b\\})",
    ) {
        let text = format!(
            "secretGenerator: [{{name: s, literals: [a=1]}}]\npatches:\n- target: {{kind: Secret}}\n  patch: |\n    - {{op: {op}, path: /{field}{rest}, value: {value}}}\n- target: {{}}\n  patch: |\n    {{apiVersion: v1, kind: Secret, metadata: {{name: s}}, {field}: {value}}}"
        );
        build(&[("kustomization.yaml", &text)], "");
    }
}
