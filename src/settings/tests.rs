use std::fmt::Write;

use proptest::prelude::*;
use serde_json::json;

use super::{check::closest, *};
use crate::policy::{FailureLimit, InFlight};

/// A policy in one file.
fn file(text: &str) -> Sources {
    Sources {
        files: vec![SourceFile {
            path: "config.yaml".into(),
            text: text.to_owned(),
        }],
        ..Sources::default()
    }
}

/// What is wrong with a file.
fn refused(text: &str) -> String {
    load(&file(text), &[]).unwrap_err().to_string()
}

/// What is wrong with a file that selects, save for these lines.
fn refused_below(text: &str) -> String {
    refused(&format!("select: [{{}}]\n{text}"))
}

fn loaded(text: &str) -> Policy {
    load(&file(text), &[])
        .unwrap_or_else(|invalid| panic!("{invalid}"))
        .policy
}

/// As a policy file says it.
fn shown(policy: &Policy) -> String {
    serde_saphyr::to_string(policy).unwrap()
}

fn with_variables(variables: &[(&str, &str)]) -> Result<Loaded, Invalid> {
    let environment = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    load(
        &Sources {
            environment,
            ..file("select: [{}]")
        },
        &["ESO_SYNC_CONFIG", "ESO_SYNC_MAX_SYNCS"],
    )
}

fn with_ceilings(text: &str, ceilings: Ceilings) -> Result<Loaded, Invalid> {
    load(
        &Sources {
            ceilings,
            ..file(text)
        },
        &[],
    )
}

mod layers {
    use super::*;

    #[test]
    fn what_is_not_said_has_its_default() {
        assert_eq!(
            loaded("select: [{}]"),
            Policy::selecting(vec![crate::policy::Selection::default()])
        );
    }

    #[test]
    fn later_files_win_key_by_key_and_lists_as_a_whole() {
        let mut sources = file(
            "select: [{names: [a, b]}]\nsync: {timeout: 5s, retries: 7}\npace: {providers: {aws: 1/s}}\n",
        );
        let text = "select: [{names: [c]}]\nsync: {timeout: 9s}\npace: {providers: {gcp: 2/s}}\n"
            .to_owned();
        sources.files.push(SourceFile {
            path: "more.yaml".into(),
            text,
        });
        let policy = load(&sources, &[]).unwrap().policy;
        insta::assert_snapshot!(shown(&policy), @"
        select:
        - names:
          - c
        exclude: []
        sync:
          when: drifted
          annotation: force-sync
          generators: false
          timeout: 9s
          retries: 7
          onStillStale: report
        restart: []
        pace:
          inFlight: auto
          default: 20/s
          providers:
            aws: 1/s
            azurekv: 20/s
            gcpsm: 2/s
            vault: 50/s
          stores: {}
          kubernetes: 50/s
          restarts: 30/min
        safety:
          maxSyncs: 500
          maxRestarts: 50
          stopAfterFailures: 20%
        drift:
          enabled: true
          credentials: ambient
          stores: {}
          endpoints: []
          namespacedStores: false
          onUnverifiable: fail
        lock:
          enabled: true
        deadline: 10m
        ");
    }

    #[test]
    fn variables_win_over_files_and_flags_over_variables() {
        let mut sources = file("select: [{}]\nsync: {timeout: 1s, retries: 1, annotation: a}\n");
        sources
            .environment
            .insert("ESO_SYNC_SYNC__TIMEOUT".to_owned(), "2s".to_owned());
        sources
            .environment
            .insert("ESO_SYNC_SYNC__RETRIES".to_owned(), "2".to_owned());
        sources.flags.insert("sync.timeout".to_owned(), json!("3s"));
        let sync = load(&sources, &[]).unwrap().policy.sync;
        assert_eq!(
            (sync.timeout.as_secs(), sync.retries, &*sync.annotation),
            (3, 2, "a")
        );
    }

    #[test]
    fn flags_alone_make_a_policy() {
        let flags = [
            (
                "select",
                json!([{"namespaces": ["web"], "names": ["1234"], "states": ["failed"]}]),
            ),
            ("safety.maxSyncs", json!(3)),
        ];
        let flags = flags
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        let policy = load(
            &Sources {
                flags,
                ..Sources::default()
            },
            &[],
        )
        .unwrap()
        .policy;
        assert_eq!(policy.safety.max_syncs, 3);
        assert!(policy.select[0].names[0].matches("1234"));
    }

    #[test]
    fn a_flag_with_a_wrong_value_is_told_from_a_file() {
        let mut sources = file("select: [{}]");
        sources
            .flags
            .insert("sync.timeout".to_owned(), json!("soon"));
        sources.flags.insert(
            "select".to_owned(),
            json!([{"names": ["Web"], "labelSelector": "a b"}]),
        );
        insta::assert_snapshot!(load(&sources, &[]).unwrap_err(), @"
        command line: select[0].labelSelector: `a b` is not a label selector (`a b` is no label key); write it like `team=payments,tier!=test`
        command line: select[0].names[0]: `Web` has capital letters, which no name in Kubernetes has; write a name or a glob like `prod-*`
        command line: sync.timeout: `soon` is not a duration; write it like `30s`, `5m` or `1h30m`
        ");
    }

    #[test]
    fn the_digest_is_of_what_is_said_and_not_of_how_and_where() {
        let digest = |sources: Sources| load(&sources, &[]).unwrap().digest;
        let plain = digest(file(
            "select: [{providers: [azure]}]\nsync: {timeout: 120s}\npace: {default: 60/min}\n",
        ));
        let mut sources = file("pace: {default: 1/s}\nsync: {timeout: 2m}\n");
        sources.environment.insert(
            "ESO_SYNC_SELECT".to_owned(),
            "[{providers: [azurekv]}]".to_owned(),
        );
        assert_eq!(digest(sources), plain);
        assert_ne!(
            digest(file(
                "select: [{providers: [azure]}]\nsync: {timeout: 121s}\npace: {default: 60/min}\n"
            )),
            plain
        );
        assert_eq!(plain.len(), 12);
    }

    #[test]
    fn a_missing_file_is_named() {
        let paths = ["no-such.yaml".into(), "nor-such.yaml".into()];
        insta::assert_snapshot!(read_files(&paths).unwrap_err(), @"
        no-such.yaml: cannot be read: No such file or directory (os error 2); name the policy with --config FILE
        nor-such.yaml: cannot be read: No such file or directory (os error 2); name the policy with --config FILE
        ");
    }
}

mod text {
    use super::*;

    #[test]
    fn everything_is_told_at_once_with_its_line() {
        insta::assert_snapshot!(refused("\
select:
  - namespaces: [\"prod-*\", 1234]
    labelselector: a=b
    states: [failed, stale]
sync:
  when: drifted
  timeout: 5 minutes
  retries: many
pace:
  default: 0/s
  inFlight: 0
safety:
  maxSyncs: -1
  stopAfterFailures: 120%
lock: true
deadline: 1d
restart: []
"), @r#"
        config.yaml:2: select[0].namespaces[1]: `1234` is a number to YAML, not text; quote it: `"1234"`
        config.yaml:3: select[0].labelselector: is no key of a policy; did you mean `labelSelector`?
        config.yaml:4: select[0].states[1]: `stale` is not known here; write one of `ready`, `failed`, `never-synced`, `overdue`
        config.yaml:7: sync.timeout: `5 minutes` is not a duration; write it like `30s`, `5m` or `1h30m`
        config.yaml:8: sync.retries: `many` is not a number; write a whole number from 0 on, without quotes
        config.yaml:10: pace.default: `0/s` is a rate of zero; write it like `20/s`, `30/min` or `100/h`
        config.yaml:11: pace.inFlight: `0` is neither `auto` nor a whole number above zero; write `auto` or a whole number from 1 on
        config.yaml:13: safety.maxSyncs: `-1` is out of range or not a whole number; write a whole number from 1 on, without quotes
        config.yaml:14: safety.stopAfterFailures: `120%` is neither a number nor a percentage; write it like `10` or `20%`
        config.yaml:15: lock: has no keys below it; write keys below it: `enabled`
        config.yaml:16: deadline: `1d` is not a duration; write it like `30s`, `5m` or `1h30m`
        "#);
    }

    #[test]
    fn a_mistake_in_each_layer_is_told_at_once() {
        let mut sources = file("select: [{}]\ndeadline: 0s\n");
        sources.files.push(SourceFile {
            path: "broken.yaml".into(),
            text: "sync: [".to_owned(),
        });
        sources.files.push(SourceFile {
            path: "more.yaml".into(),
            text: "sync:\n\n  retries: x\n".to_owned(),
        });
        sources
            .environment
            .insert("ESO_SYNC_LOCK__ENABLED".to_owned(), "maybe".to_owned());
        insta::assert_snapshot!(load(&sources, &[]).unwrap_err(), @"
        config.yaml:2: deadline: `0s` is no time at all; write it like `30s`, `5m` or `1h30m`
        broken.yaml:1: is not YAML: unclosed bracket '['
        more.yaml:3: sync.retries: `x` is not a number; write a whole number from 0 on, without quotes
        environment variable ESO_SYNC_LOCK__ENABLED: lock.enabled: `maybe` is neither `true` nor `false`; write `true` or `false`
        ");
    }

    #[test]
    fn an_unknown_key_is_told_with_the_one_that_was_meant() {
        insta::assert_snapshot!(refused_below("\
Sync: {}
sync: {time-out: 1m, retrys: 1, restart: 1}
timeout: 1m
labels: x
pace: {in_flight: 3, Kubernetes: 1/s}
safety: {max-syncs: 1}
allow: [sync]
"), @"
        config.yaml:2: Sync: is no key of a policy; did you mean `sync`?
        config.yaml:3: sync.time-out: is no key of a policy; did you mean `timeout`?
        config.yaml:3: sync.retrys: is no key of a policy; did you mean `retries`?
        config.yaml:3: sync.restart: is no key of a policy; it belongs elsewhere: `restart`
        config.yaml:4: timeout: is no key of a policy; it belongs elsewhere: `sync.timeout`
        config.yaml:5: labels: is no key of a policy; known here: `select`, `exclude`, `sync`, `restart`, `pace`, `safety`, `drift`, `lock`, `deadline`
        config.yaml:6: pace.in_flight: is no key of a policy; did you mean `inFlight`?
        config.yaml:6: pace.Kubernetes: is no key of a policy; did you mean `kubernetes`?
        config.yaml:7: safety.max-syncs: is no key of a policy; did you mean `maxSyncs`?
        config.yaml:8: allow: is no key of a policy; known here: `select`, `exclude`, `sync`, `restart`, `pace`, `safety`, `drift`, `lock`, `deadline`
        ");
    }

    #[test]
    fn a_manifest_is_no_policy() {
        insta::assert_snapshot!(refused("apiVersion: v1\nkind: ConfigMap\ndata: {config.yaml: 'select: [{}]'}\n"), @"config.yaml:1: is a manifest of Kubernetes; give the policy itself, as it stands in a ConfigMap's `data`");
    }

    #[test]
    fn a_duplicate_key_is_told_with_the_line_of_the_first() {
        insta::assert_snapshot!(refused_below("sync:\n  retries: 1\n  timeout: 1m\n  retries: 2\nsync: {}\n"), @"
        config.yaml:5: sync.retries: is set twice, first in line 3; remove one of the two
        config.yaml:6: sync: is set twice, first in line 2; remove one of the two
        ");
    }

    #[test]
    fn what_yaml_takes_for_something_else_has_to_be_quoted() {
        insta::assert_snapshot!(refused("\
select:
  - names: [1234, 1.10, no, true, ~, 0x1f, 1e3, '1234', a1, 1_000]
    labelSelector: yes
    namespaces: [2024-01-01, 12:30]
sync: {annotation: 10}
"), @r#"
        config.yaml:2: select[0].names[0]: `1234` is a number to YAML, not text; quote it: `"1234"`
        config.yaml:2: select[0].names[1]: `1.10` is a number to YAML, not text; quote it: `"1.10"`
        config.yaml:2: select[0].names[2]: `no` is a boolean to YAML, not text; quote it: `"no"`
        config.yaml:2: select[0].names[3]: `true` is a boolean to YAML, not text; quote it: `"true"`
        config.yaml:2: select[0].names[4]: is empty; write a name or a glob like `prod-*`, or remove it
        config.yaml:2: select[0].names[5]: `0x1f` is a number to YAML, not text; quote it: `"0x1f"`
        config.yaml:2: select[0].names[6]: `1e3` is a number to YAML, not text; quote it: `"1e3"`
        config.yaml:2: select[0].names[9]: `1_000` is no name that Kubernetes allows; write a name or a glob like `prod-*`
        config.yaml:3: select[0].labelSelector: `yes` is a boolean to YAML, not text; quote it: `"yes"`
        config.yaml:4: select[0].namespaces[1]: `12:30` is no name that Kubernetes allows; write a name or a glob like `prod-*`
        config.yaml:5: sync.annotation: `10` is a number to YAML, not text; quote it: `"10"`
        "#);
    }

    #[test]
    fn text_is_no_number_and_no_switch() {
        insta::assert_snapshot!(refused_below("\
sync: {retries: '2', generators: 'true'}
safety: {maxSyncs: 1.5, stopAfterFailures: '10'}
lock: {enabled: yes}
pace: {inFlight: 'auto'}
"), @"
        config.yaml:2: sync.retries: `2` in quotes is text; write a whole number from 0 on, without quotes
        config.yaml:2: sync.generators: `true` in quotes is text; write `true` or `false`
        config.yaml:3: safety.maxSyncs: `1.5` is out of range or not a whole number; write a whole number from 1 on, without quotes
        config.yaml:3: safety.stopAfterFailures: `10` in quotes is text; write it like `10` or `20%`
        config.yaml:4: lock.enabled: `yes` is neither `true` nor `false`; write `true` or `false`
        ");
        insta::assert_snapshot!(refused_below("safety: {maxSyncs: 99999999999}\nsync: {retries: 010, generators: 1}\n"), @"
        config.yaml:2: safety.maxSyncs: `99999999999` is out of range or not a whole number; write a whole number from 1 on, without quotes
        config.yaml:3: sync.retries: `010` is out of range or not a whole number; write a whole number from 0 on, without quotes
        config.yaml:3: sync.generators: `1` is neither `true` nor `false`; write `true` or `false`
        ");
    }

    #[test]
    fn a_value_of_another_kind_is_told_without_quoting_it() {
        insta::assert_snapshot!(refused("\
select: everything
exclude: {names: [a]}
sync: now
pace: {providers: [aws], stores: 5/s, default: [1/s], kubernetes: {a: 1/s}}
safety: [1]
"), @"
        config.yaml:1: select: is no list; write a list: `[…]`, or one `- …` per line
        config.yaml:2: exclude: has keys below it; write a list: `[…]`, or one `- …` per line
        config.yaml:3: sync: has no keys below it; write keys below it: `when`, `annotation`, `generators`, `timeout`, `retries`, `onStillStale`
        config.yaml:4: pace.providers: is a list; write `key: value` pairs below it, such as `vault: 20/s`
        config.yaml:4: pace.stores: has no keys below it; write `key: value` pairs below it, such as `ClusterSecretStore/vault: 20/s`
        config.yaml:4: pace.default: is a list; write it like `20/s`, `30/min` or `100/h`
        config.yaml:4: pace.kubernetes: has keys below it; write it like `20/s`, `30/min` or `100/h`
        config.yaml:5: safety: is a list; write keys below it: `maxSyncs`, `maxRestarts`, `stopAfterFailures`
        ");
    }

    #[test]
    fn an_empty_value_is_told() {
        insta::assert_snapshot!(refused("select:\nsync:\n  timeout:\n  generators: ~\nexclude: null\n"), @"
        config.yaml:1: select: is empty; write a list: `[…]`, or one `- …` per line, or remove it
        config.yaml:3: sync.timeout: is empty; write it like `30s`, `5m` or `1h30m`, or remove it
        config.yaml:4: sync.generators: is empty; write `true` or `false`, or remove it
        config.yaml:5: exclude: is empty; write a list: `[…]`, or one `- …` per line, or remove it
        ");
    }

    #[test]
    fn a_key_that_is_no_text_is_told() {
        insta::assert_snapshot!(refused_below("? [a, b]\n: 1\n{c: d}: 2\n"), @"
        config.yaml:2: a key is not text; write `key: value`
        config.yaml:4: a key is not text; write `key: value`
        ");
    }
}

mod yaml {
    use super::*;

    #[test]
    fn an_empty_file_says_nothing() {
        for text in ["", "\n", "# select: []\n", "---\n", "{}", "\u{feff}"] {
            assert_eq!(
                refused(text),
                "config.yaml: select: is lacking, so nothing is selected; write `select: [{namespaces: [\"prod-*\"]}]`, or `select: [{}]` for everything",
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_file_from_windows_is_read_and_its_lines_counted() {
        let text = "\u{feff}select: [{}]\r\nsync:\r\n  retries: 3\r\n";
        assert_eq!(loaded(text).sync.retries, 3);
        insta::assert_snapshot!(refused(&text.replace('3', "x")), @"config.yaml:3: sync.retries: `x` is not a number; write a whole number from 0 on, without quotes");
    }

    #[test]
    fn a_syntax_error_is_told_without_quoting_the_file() {
        insta::assert_snapshot!(refused("select: [{names: [a}]"), @"config.yaml:1: is not YAML: mismatched bracket '[' closed by '}'");
        insta::assert_snapshot!(refused("select:\n\t- {}\n"), @"config.yaml:2: is not YAML: tabs disallowed within this context (block indentation)");
        insta::assert_snapshot!(refused("select: [{}]\nsync: {annotation: \"hunter2\n"), @"config.yaml:2: is not YAML: unclosed quote");
        insta::assert_snapshot!(refused("password: hunter2: hunter3\n"), @"config.yaml:1: is not YAML: mapping values are not allowed in this context");
        insta::assert_snapshot!(refused("select: [{}]\n}\n"), @"config.yaml:2: is not YAML: misplaced bracket");
    }

    #[test]
    fn a_file_that_holds_no_keys_is_not_quoted() {
        insta::assert_snapshot!(refused("hunter2"), @"config.yaml:1: is no policy; write keys such as `select:` and `sync:` at the top");
        insta::assert_snapshot!(refused("- hunter2\n- b\n"), @"config.yaml:1: is no policy; write keys such as `select:` and `sync:` at the top");
    }

    #[test]
    fn a_second_document_is_told() {
        insta::assert_snapshot!(refused("select: [{}]\n---\nsync: {}\n"), @"config.yaml:2: a second document starts here; a policy is one document: give several files, or remove the `---`");
        assert_eq!(loaded("---\nselect: [{}]\n...\n"), loaded("select: [{}]"));
    }

    #[test]
    fn aliases_merge_keys_and_tags_are_told() {
        insta::assert_snapshot!(refused("\
select: [{names: &web [a]}, {names: *web}]
sync:
  <<: &fast {timeout: 1s}
  annotation: !!str x
  retries: *none
pace:
  <<: [*fast, *faster]
"), @r#"
        config.yaml:1: select[1].names: is a YAML alias, which a policy may not use; write the value out
        config.yaml:3: sync.<<: is a YAML merge key, which a policy may not use; write the keys out
        config.yaml:4: sync.annotation: has a YAML tag, which a policy may not use; remove it, or quote the value if it starts with `!`
        config.yaml:5: sync.retries: `*none` is a YAML alias; if a glob is meant, quote it: `"*none"`
        config.yaml:7: pace.<<: is a YAML merge key, which a policy may not use; write the keys out
        "#);
    }

    #[test]
    fn an_unquoted_glob_or_negation_is_told_as_such() {
        insta::assert_snapshot!(refused("select:\n  - names: [*-db, ok]\n    labelSelector: !canary\n"), @r#"
        config.yaml:2: select[0].names[0]: `*-db` is a YAML alias; if a glob is meant, quote it: `"*-db"`
        config.yaml:3: select[0].labelSelector: has a YAML tag, which a policy may not use; remove it, or quote the value if it starts with `!`
        "#);
    }

    #[test]
    fn a_bomb_of_aliases_is_told_at_its_first_use() {
        let mut text = "a: &a [x]\n".to_owned();
        for (name, inner) in ('b'..='z').zip('a'..) {
            writeln!(
                text,
                "{name}: &{name} [{}]",
                vec![format!("*{inner}"); 9].join(",")
            )
            .unwrap();
        }
        assert!(refused(&text).contains("config.yaml:2: b[0]: is a YAML alias"));
    }

    #[test]
    fn deep_nesting_is_told() {
        insta::assert_snapshot!(refused(&"[".repeat(100_000)), @"config.yaml:1: nests deeper than 32 levels; no policy does");
        insta::assert_snapshot!(refused(&"- ".repeat(100_000)), @"config.yaml:1: nests deeper than 32 levels; no policy does");
        insta::assert_snapshot!(refused(&format!("select: {}", "{a: ".repeat(50))), @"config.yaml:1: nests deeper than 32 levels; no policy does");
    }

    #[test]
    fn a_long_value_is_cut() {
        insta::assert_snapshot!(refused_below(&format!("deadline: {}\nlock: {{enabled: \"a\\nb\"}}\n", "x".repeat(5_000))), @r"
        config.yaml:2: deadline: `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…` is not a duration; write it like `30s`, `5m` or `1h30m`
        config.yaml:3: lock.enabled: `a\nb` is neither `true` nor `false`; write `true` or `false`
        ");
    }
}

mod values {
    use super::*;

    #[test]
    fn a_selection_has_to_name_something() {
        insta::assert_snapshot!(refused("select: []\n"), @"config.yaml:1: select: is empty, so nothing is selected; name something, or write `[{}]` for everything");
        insta::assert_snapshot!(refused("sync: {}\n"), @r#"config.yaml: select: is lacking, so nothing is selected; write `select: [{namespaces: ["prod-*"]}]`, or `select: [{}]` for everything"#);
        insta::assert_snapshot!(refused("select:\n  -\n  - {names: []}\n  - {names: [], providers: []}\nexclude:\n  - {}\n  - {states: []}\n"), @"
        config.yaml:2: select[0]: is empty; write `{}` if every ExternalSecret is meant, or remove it
        config.yaml:3: select[1]: names nothing, which would select every ExternalSecret; write `{}` if every ExternalSecret is meant
        config.yaml:4: select[2]: names nothing, which would select every ExternalSecret; write `{}` if every ExternalSecret is meant
        config.yaml:6: exclude[0]: names nothing, which would exclude every ExternalSecret; name something, or remove the entry
        config.yaml:7: exclude[1]: names nothing, which would exclude every ExternalSecret; name something, or remove the entry
        ");
        assert_eq!(
            loaded("select: [{}, {names: [], namespaces: [a]}]")
                .select
                .len(),
            2
        );
    }

    #[test]
    fn names_are_globs_on_names_that_can_be() {
        insta::assert_snapshot!(refused("select: [{names: ['a[', Web, a/b, '', 'a_*', '-a'], namespaces: ['{a', 'prod-*']}]"), @"
        config.yaml:1: select[0].names[0]: `a[` is not a glob: unclosed character class; missing ']'; write a name or a glob like `prod-*`
        config.yaml:1: select[0].names[1]: `Web` has capital letters, which no name in Kubernetes has; write a name or a glob like `prod-*`
        config.yaml:1: select[0].names[2]: `a/b` is no name that Kubernetes allows; write a name or a glob like `prod-*`
        config.yaml:1: select[0].names[3]: `` is empty; write a name or a glob like `prod-*`
        config.yaml:1: select[0].names[4]: `a_*` has `_`, which no name in Kubernetes has; write a name or a glob like `prod-*`
        config.yaml:1: select[0].names[5]: `-a` is no name that Kubernetes allows; write a name or a glob like `prod-*`
        config.yaml:1: select[0].namespaces[0]: `{a` is not a glob: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?); write a name or a glob like `prod-*`
        ");
    }

    #[test]
    fn selectors_are_those_of_kubectl() {
        insta::assert_snapshot!(refused("\
select:
  - labelSelector: a in (b
    namespaceSelector: {matchLabels: {a: b}}
  - labelSelector: [a=b]
    namespaceSelector: \"a=b c\"
"), @"
        config.yaml:2: select[0].labelSelector: `a in (b` is not a label selector (a parenthesis stays open); write it like `team=payments,tier!=test`
        config.yaml:3: select[0].namespaceSelector: has keys below it; write it like `team=payments,tier!=test`
        config.yaml:4: select[1].labelSelector: is a list; write it like `team=payments,tier!=test`
        config.yaml:5: select[1].namespaceSelector: `a=b c` is not a label selector (`b c` is no label value); write it like `team=payments,tier!=test`
        ");
    }

    #[test]
    fn stores_are_told_apart_by_kind() {
        let policy = loaded(
            "select: [{stores: [{name: a}, {kind: SecretStore, namespace: b, name: 'c*'}, {kind: ClusterSecretStore, name: d}]}]",
        );
        assert_eq!(policy.select[0].stores.len(), 3);
        insta::assert_snapshot!(refused("\
select:
  - stores:
      - {kind: ClusterSecretStore, namespace: a, name: b}
      - {kind: secretstore, name: b}
      - {kind: SecretStore, namespace: a}
      - vault
      - {names: [a]}
"), @"
        config.yaml:3: select[0].stores[0]: a ClusterSecretStore has no namespace; remove `namespace`, or write `kind: SecretStore`
        config.yaml:4: select[0].stores[1].kind: `secretstore` is not known here; write one of `SecretStore`, `ClusterSecretStore`
        config.yaml:5: select[0].stores[2]: lacks `name`; write a name or a glob like `prod-*`
        config.yaml:6: select[0].stores[3]: has no keys below it; write keys below it: `kind`, `namespace`, `name`
        config.yaml:7: select[0].stores[4].names: is no key of a policy; did you mean `name`?
        config.yaml:7: select[0].stores[4]: lacks `name`; write a name or a glob like `prod-*`
        ");
    }

    #[test]
    fn providers_have_their_short_names() {
        let policy = loaded(
            "select: [{providers: [azure, gcp, vault, onepasswordSDK]}]\npace: {providers: {azure: 7/s}}\n",
        );
        assert_eq!(
            policy.select[0].providers,
            ["azurekv", "gcpsm", "vault", "onepasswordSDK"]
        );
        assert_eq!(policy.pace.providers["azurekv"].to_string(), "7/s");
        insta::assert_snapshot!(refused("select: [{providers: [AWS, a-b, '']}]\npace: {providers: {azure: 1/s, azurekv: 2/s, AWS: 1/s}}\n"), @"
        config.yaml:1: select[0].providers[0]: `AWS` is no type of provider; write it as the spec of a store does, like `aws`, `azurekv`, `gcpsm` or `vault`
        config.yaml:1: select[0].providers[1]: `a-b` is no type of provider; write it as the spec of a store does, like `aws`, `azurekv`, `gcpsm` or `vault`
        config.yaml:1: select[0].providers[2]: `` is no type of provider; write it as the spec of a store does, like `aws`, `azurekv`, `gcpsm` or `vault`
        config.yaml:2: pace.providers.azurekv: `azurekv` was set already, under its other name; remove one of the two
        config.yaml:2: pace.providers.AWS: `AWS` is no type of provider; write it as the spec of a store does, like `aws`, `azurekv`, `gcpsm` or `vault`
        ");
    }

    #[test]
    fn rates_are_above_zero_and_have_a_unit() {
        insta::assert_snapshot!(refused_below("\
pace:
  default: 10
  kubernetes: -5/s
  providers: {aws: 0/s, vault: 5/d, fake: 0.001/h, gcp: fast}
  stores: {ClusterSecretStore/a: 2/s, SecretStore/a: 1/s, 'ClusterSecretStore/a*': 1/s, SecretStore/b/c: 1e3/s}
"), @"
        config.yaml:3: pace.default: `10` is not a rate; write it like `20/s`, `30/min` or `100/h`
        config.yaml:4: pace.kubernetes: `-5/s` is not a rate; write it like `20/s`, `30/min` or `100/h`
        config.yaml:5: pace.providers.aws: `0/s` is a rate of zero; write it like `20/s`, `30/min` or `100/h`
        config.yaml:5: pace.providers.vault: `5/d` is not a rate; write it like `20/s`, `30/min` or `100/h`
        config.yaml:5: pace.providers.fake: `0.001/h` is not from `1/h` to `1000000/s`; write it like `20/s`, `30/min` or `100/h`
        config.yaml:5: pace.providers.gcp: `fast` is not a rate; write it like `20/s`, `30/min` or `100/h`
        config.yaml:6: pace.stores.SecretStore/a: `SecretStore/a` names no store; write `ClusterSecretStore/NAME` or `SecretStore/NAMESPACE/NAME`
        config.yaml:6: pace.stores.ClusterSecretStore/a*: `ClusterSecretStore/a*` names no store; write `ClusterSecretStore/NAME` or `SecretStore/NAMESPACE/NAME`
        config.yaml:6: pace.stores.SecretStore/b/c: `1e3/s` is not a rate; write it like `20/s`, `30/min` or `100/h`
        ");
    }

    #[test]
    fn limits_are_numbers_or_what_else_they_may_be() {
        let policy = loaded("select: [{}]\npace: {inFlight: 12}\nsafety: {stopAfterFailures: 3}\n");
        assert_eq!(
            policy.pace.in_flight,
            InFlight::Fixed(12.try_into().unwrap())
        );
        assert_eq!(policy.safety.stop_after_failures, FailureLimit::Count(3));
        insta::assert_snapshot!(refused_below("pace: {inFlight: few}\nsafety: {maxSyncs: 0, stopAfterFailures: 1.5}\nsync: {retries: -1}\n"), @"
        config.yaml:2: pace.inFlight: `few` is neither `auto` nor a whole number above zero; write `auto` or a whole number from 1 on
        config.yaml:3: safety.maxSyncs: `0` is out of range or not a whole number; write a whole number from 1 on, without quotes
        config.yaml:3: safety.stopAfterFailures: `1.5` is neither a number nor a percentage; write it like `10` or `20%`
        config.yaml:4: sync.retries: `-1` is out of range or not a whole number; write a whole number from 0 on, without quotes
        ");
    }

    #[test]
    fn the_annotation_is_a_key_that_nobody_else_reads() {
        assert_eq!(
            loaded("select: [{}]\nsync: {annotation: example.com/force-sync}\n")
                .sync
                .annotation,
            "example.com/force-sync"
        );
        for key in [
            "kubectl.kubernetes.io/restartedAt",
            "reconcile.external-secrets.io/data-hash",
            "eso-sync/ignore",
            "a b",
            "/a",
            "a/b/c",
        ] {
            let text = format!("sync: {{annotation: {key}}}\n");
            assert!(refused_below(&text).contains("sync.annotation"), "{key}");
        }
        insta::assert_snapshot!(refused_below("sync: {annotation: eso-sync/ignore}"), @"config.yaml:2: sync.annotation: `eso-sync/ignore` belongs to others: keys of `eso-sync/` have a meaning of their own; write a key like `force-sync` or `example.com/force-sync`");
        insta::assert_snapshot!(refused_below("sync: {annotation: a b}"), @"config.yaml:2: sync.annotation: `a b` is no key of an annotation; write a key like `force-sync` or `example.com/force-sync`");
    }

    #[test]
    fn durations_are_longer_than_nothing() {
        insta::assert_snapshot!(refused("select: [{overdueAfter: 0}]\nsync: {timeout: 90}\ndeadline: -5m\n"), @"
        config.yaml:1: select[0].overdueAfter: `0` is no time at all; write it like `30s`, `5m` or `1h30m`
        config.yaml:2: sync.timeout: `90` is not a duration; write it like `30s`, `5m` or `1h30m`
        config.yaml:3: deadline: `-5m` is not a duration; write it like `30s`, `5m` or `1h30m`
        ");
    }
}

mod environment {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a line for each key")]
    fn every_key_has_its_variable() {
        let policy = with_variables(&[
            (
                "ESO_SYNC_SELECT",
                "[{namespaces: [web, \"prod-*\"], states: [failed]}]",
            ),
            ("ESO_SYNC_EXCLUDE", "[{names: [\"1234\"]}]"),
            ("ESO_SYNC_SYNC__TIMEOUT", "90s"),
            ("ESO_SYNC_SYNC__ANNOTATION", "1234"),
            ("ESO_SYNC_SYNC__GENERATORS", "true"),
            ("ESO_SYNC_SAFETY__MAX_SYNCS", "10"),
            ("ESO_SYNC_SAFETY__STOP_AFTER_FAILURES", "5%"),
            ("ESO_SYNC_PACE__IN_FLIGHT", "7"),
            ("ESO_SYNC_PACE__PROVIDERS__AZURE", "1/s"),
            ("ESO_SYNC_PACE__PROVIDERS", "{aws: 2/s, azure: 9/s}"),
            ("ESO_SYNC_PACE__STORES", "{ClusterSecretStore/a: 3/s}"),
            ("ESO_SYNC_DEADLINE", "1h"),
        ]);
        insta::assert_snapshot!(shown(&policy.unwrap().policy), @r#"
        select:
        - namespaces:
          - web
          - prod-*
          states:
          - failed
        exclude:
        - names:
          - "1234"
        sync:
          when: drifted
          annotation: "1234"
          generators: true
          timeout: 1m30s
          retries: 2
          onStillStale: report
        restart: []
        pace:
          inFlight: 7
          default: 20/s
          providers:
            aws: 2/s
            azurekv: 1/s
            gcpsm: 10/s
            vault: 50/s
          stores:
            ClusterSecretStore/a: 3/s
          kubernetes: 50/s
          restarts: 30/min
        safety:
          maxSyncs: 10
          maxRestarts: 50
          stopAfterFailures: 5%
        drift:
          enabled: true
          credentials: ambient
          stores: {}
          endpoints: []
          namespacedStores: false
          onUnverifiable: fail
        lock:
          enabled: true
        deadline: 1h
        "#);
    }

    #[test]
    fn a_bad_value_is_told_with_the_variable() {
        insta::assert_snapshot!(with_variables(&[
            ("ESO_SYNC_SELECT", "a,b"),
            ("ESO_SYNC_EXCLUDE", "[{names: [1234], nmaes: []}, *x]"),
            ("ESO_SYNC_SAFETY", ""),
            ("ESO_SYNC_SYNC", "{retries: x}"),
            ("ESO_SYNC_SYNC__TIMEOUT", ""),
            ("ESO_SYNC_SAFETY__MAX_SYNCS", "ten"),
            ("ESO_SYNC_PACE", "[a"),
            ("ESO_SYNC_PACE__STORES__VAULT", "1/s"),
            ("ESO_SYNC_LOCK__ENABLED", "yes"),
        ]).unwrap_err(), @r#"
        environment variable ESO_SYNC_EXCLUDE: exclude[1]: `*x` is a YAML alias; if a glob is meant, quote it: `"*x"`
        environment variable ESO_SYNC_EXCLUDE: exclude[0].names[0]: `1234` is a number to YAML, not text; quote it: `"1234"`
        environment variable ESO_SYNC_EXCLUDE: exclude[0].nmaes: is no key of a policy; did you mean `names`?
        environment variable ESO_SYNC_LOCK__ENABLED: lock.enabled: `yes` is neither `true` nor `false`; write `true` or `false`
        environment variable ESO_SYNC_PACE: pace: is not YAML: unclosed bracket '['
        environment variable ESO_SYNC_PACE__STORES__VAULT: pace.stores.vault: `vault` names no store; write `ClusterSecretStore/NAME` or `SecretStore/NAMESPACE/NAME`
        environment variable ESO_SYNC_SAFETY: safety: is empty; write keys below it: `maxSyncs`, `maxRestarts`, `stopAfterFailures`, or remove it
        environment variable ESO_SYNC_SAFETY__MAX_SYNCS: safety.maxSyncs: `ten` is not a number; write a whole number from 1 on, without quotes
        environment variable ESO_SYNC_SELECT: select: is no list; write a list: `[…]`, or one `- …` per line
        environment variable ESO_SYNC_SYNC: sync.retries: `x` is not a number; write a whole number from 0 on, without quotes
        environment variable ESO_SYNC_SYNC__TIMEOUT: sync.timeout: is empty; write it like `30s`, `5m` or `1h30m`, or remove it
        "#);
    }

    #[test]
    fn an_unknown_variable_is_a_warning() {
        let warnings = with_variables(&[
            ("ESO_SYNC_CONFIG", "x"),
            ("ESO_SYNC_MAX_SYNCS", "x"),
            ("ESO_SYNC_SYNC__TIMEOT", "x"),
            ("ESO_SYNC_sync__timeout", "x"),
            ("ESO_SYNC_COLOUR", "x"),
            ("ESO_SYNC_SERVICE_HOST", "10.0.0.1"),
            ("ESO_SYNC_SERVICE_PORT", "80"),
            ("ESO_SYNC_SERVICE_PORT_HTTP", "80"),
            ("ESO_SYNC_PORT", "tcp://10.0.0.1:80"),
            ("ESO_SYNC_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("PATH", "/bin"),
        ])
        .unwrap()
        .warnings;
        insta::assert_snapshot!(warnings.join("\n"), @"
        ignored `ESO_SYNC_PORT`, `ESO_SYNC_PORT_80_TCP_ADDR`, `ESO_SYNC_SERVICE_HOST`, `ESO_SYNC_SERVICE_PORT`, `ESO_SYNC_SERVICE_PORT_HTTP`: Kubernetes sets them for a Service called `eso-sync`; `enableServiceLinks: false` in the pod's spec stops that
        ignored environment variable ESO_SYNC_COLOUR: it names no key of a policy and no flag
        ignored environment variable ESO_SYNC_SYNC__TIMEOT: it names no key of a policy and no flag; did you mean `ESO_SYNC_SYNC__TIMEOUT`?
        ignored environment variable ESO_SYNC_sync__timeout: it names no key of a policy and no flag; did you mean `ESO_SYNC_SYNC__TIMEOUT`?
        ");
    }
}

mod ceilings {
    use super::*;

    #[test]
    fn a_policy_may_not_ask_for_more_than_the_flags_allow() {
        let ceilings = Ceilings {
            max_syncs: Some(100),
            allow: Some(Vec::new()),
            ..Ceilings::default()
        };
        let text = "select: [{}]\nsync:\n  when: failed\nsafety:\n  maxSyncs: 101\n";
        insta::assert_snapshot!(with_ceilings(text, ceilings.clone()).unwrap_err(), @"
        config.yaml:3: sync.when: `failed` needs what --allow does not name; write `when: never`, or give --allow sync
        config.yaml:5: safety.maxSyncs: 101 is more than --max-syncs allows, which is 100; write at most 100, or raise --max-syncs
        ");
        insta::assert_snapshot!(with_ceilings("select: [{}]", ceilings).unwrap_err(), @"policy: sync.when: `always` needs what --allow does not name; write `when: never`, or give --allow sync");
    }

    #[test]
    fn a_policy_that_says_nothing_gets_what_the_flags_allow() {
        let max_syncs = |text, max_syncs| {
            let ceilings = Ceilings {
                max_syncs,
                allow: Some(vec![Capability::Sync]),
                ..Ceilings::default()
            };
            with_ceilings(text, ceilings)
                .unwrap()
                .policy
                .safety
                .max_syncs
        };
        assert_eq!(max_syncs("select: [{}]", Some(100)), 100);
        assert_eq!(max_syncs("select: [{}]", Some(1000)), 500);
        assert_eq!(
            max_syncs("select: [{}]\nsafety: {maxSyncs: 100}", Some(100)),
            100
        );
        assert_eq!(
            max_syncs("select: [{}]\nsafety: {maxSyncs: 900}", None),
            900
        );
    }

    #[test]
    fn a_variable_that_asks_for_more_is_told_by_its_name() {
        let mut sources = file("select: [{}]\nsafety: {maxSyncs: 5}\n");
        sources
            .environment
            .insert("ESO_SYNC_SAFETY__MAX_SYNCS".to_owned(), "11".to_owned());
        sources.ceilings.max_syncs = Some(10);
        insta::assert_snapshot!(load(&sources, &[]).unwrap_err(), @"environment variable ESO_SYNC_SAFETY__MAX_SYNCS: safety.maxSyncs: 11 is more than --max-syncs allows, which is 10; write at most 10, or raise --max-syncs");
    }

    #[test]
    fn looking_only_needs_no_capability() {
        let ceilings = Ceilings {
            allow: Some(Vec::new()),
            ..Ceilings::default()
        };
        assert!(with_ceilings("select: [{}]\nsync: {when: never}", ceilings).is_ok());
    }

    #[test]
    fn a_ceiling_is_no_key_of_a_policy() {
        insta::assert_snapshot!(refused_below("maxSyncs: 5\nmax-restarts: 1\n"), @"
        config.yaml:2: maxSyncs: is no key of a policy; it belongs elsewhere: `safety.maxSyncs`
        config.yaml:3: max-restarts: is no key of a policy; it belongs elsewhere: `safety.maxRestarts`
        ");
    }
}

mod keys {
    use super::*;

    /// Everything that a policy can say.
    const FULL: &str = "
select:
  - namespaces: [a]
    namespaceSelector: a=b
    labelSelector: a=b
    names: [a]
    stores: [{kind: SecretStore, namespace: a, name: b}]
    providers: [aws]
    states: [ready]
    overdueAfter: 1h
exclude: [{names: [a]}]
restart:
  - namespaces: [a]
    labelSelector: a=b
    names: [a]
    match: references
    secrets: [a]
    exclude: [{names: [a]}]
pace: {stores: {ClusterSecretStore/a: 1/s}}
";

    #[test]
    fn a_policy_is_read_back_from_its_own_data() {
        let policy = loaded(FULL);
        assert_eq!(loaded(&serde_json::to_string(&policy).unwrap()), policy);
        assert_eq!(loaded(&shown(&policy)), policy);
    }

    #[test]
    fn the_key_that_was_meant_is_found() {
        let names = ["maxSyncs", "timeout", "when"];
        assert_eq!(closest("max_syncs", &names), Some("maxSyncs"));
        assert_eq!(closest("TimeOut", &names), Some("timeout"));
        assert_eq!(closest("tiemout", &names), Some("timeout"));
        assert_eq!(closest("who", &names), None);
        assert_eq!(closest("", &names), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", yaml in "[-a-z:{}\\[\\],&*!<|>'\"# \n]{0,80}") {
            let _text = load(&file(&text), &[]);
            let _yaml = load(&file(&yaml), &[]);
        }

        #[test]
        fn no_value_under_a_known_key_panics(key in prop::sample::select(super::super::environment::names()), value in ".*") {
            let _loaded = with_variables(&[(&format!("ESO_SYNC_{key}"), &value)]);
        }
    }
}

mod drift {
    use super::*;
    use crate::policy::{OnStillStale, When};

    fn allowing(text: &str, allow: &[Capability]) -> Result<Policy, String> {
        let ceilings = Ceilings {
            allow: Some(allow.to_vec()),
            ..Ceilings::default()
        };
        let loaded = with_ceilings(&format!("select: [{{}}]\n{text}"), ceilings);
        loaded
            .map(|loaded| loaded.policy)
            .map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn what_drifted_is_synced_where_that_is_checked_and_all_where_it_is_not() {
        let when = |text: &str| loaded(&format!("select: [{{}}]\n{text}")).sync.when;
        assert_eq!(when(""), When::Drifted);
        assert_eq!(when("drift: {enabled: false}"), When::Always);
        assert_eq!(when("sync: {when: failed}"), When::Failed);
        assert_eq!(
            when("drift: {enabled: false}\nsync: {when: never}"),
            When::Never
        );
    }

    #[test]
    fn what_needs_the_check_is_refused_without_it() {
        insta::assert_snapshot!(refused_below("drift: {enabled: false}\nsync: {when: drifted, onStillStale: refetch}"), @"
        config.yaml:3: sync.when: `drifted` cannot be told without the drift check (`drift.enabled`); write `when: always`, or `drift: {enabled: true}` and --allow drift
        config.yaml:3: sync.onStillStale: `refetch` is never reached without the drift check (`drift.enabled`); write `onStillStale: report`, or `drift: {enabled: true}`
        ");
    }

    #[test]
    fn a_check_that_is_not_allowed_is_refused_where_it_is_asked_for_and_left_out_where_it_is_not() {
        let policy = allowing("", &[Capability::Sync]).unwrap();
        assert!(!policy.drift.enabled && policy.sync.when == When::Always);
        assert!(
            allowing("", &[Capability::Sync, Capability::Drift])
                .unwrap()
                .drift
                .enabled
        );
        insta::assert_snapshot!(allowing("drift: {enabled: true}", &[Capability::Sync]).unwrap_err(), @"config.yaml:2: drift.enabled: `true` needs what --allow does not name; write `enabled: false`, or give --allow drift");
    }

    #[test]
    fn each_rung_of_the_ladder_has_to_be_allowed() {
        let both = [Capability::Sync, Capability::Drift];
        let recreate = "sync: {onStillStale: recreate}";
        insta::assert_snapshot!(allowing(recreate, &both).unwrap_err(), @"config.yaml:2: sync.onStillStale: `recreate` needs what --allow does not name; write `onStillStale: report`, or give --allow refetch,recreate");
        let all = [&both[..], &[Capability::Refetch, Capability::Recreate]].concat();
        assert_eq!(
            allowing(recreate, &all).unwrap().sync.on_still_stale,
            OnStillStale::Recreate
        );
        let refetch = [&both[..], &[Capability::Refetch]].concat();
        assert!(allowing("sync: {onStillStale: refetch}", &refetch).is_ok());
        assert!(
            allowing(recreate, &refetch)
                .unwrap_err()
                .contains("--allow recreate")
        );
    }
}

mod restart {
    use super::*;

    const HEAD: &str = "select: [{}]\ndrift: {enabled: false}\n";

    fn refused(rules: &str) -> String {
        let text = format!("{HEAD}restart:\n{rules}");
        with_ceilings(&text, Ceilings::default())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_rule_has_to_name_workloads() {
        insta::assert_snapshot!(refused("  - require: proven\n  - {match: references, require: proven, kinds: []}\n"), @"
        config.yaml:4: restart[0]: names no workloads; write `labelSelector`, `names` or `namespaces`, or `match: references` for all that use a selected Secret
        config.yaml:5: restart[1]: covers no kind of workload; name kinds, or remove `kinds`
        ");
    }

    #[test]
    fn a_rule_that_asks_for_what_is_not_there_is_told_so() {
        insta::assert_snapshot!(refused("  - {names: [a], kinds: [CronJob], when: sometimes, maxConcurrent: 0, exclude: [{}], wait: 5}\n"), @"
        config.yaml:4: restart[0].kinds[0]: `CronJob` is not known here; write one of `DaemonSet`, `Deployment`, `Pod`, `ReplicaSet`, `Rollout`, `StatefulSet`
        config.yaml:4: restart[0].when: `sometimes` is not known here; write one of `changed`, `unproven`, `always`
        config.yaml:4: restart[0].maxConcurrent: `0` is out of range or not a whole number; write a whole number from 1 on, without quotes
        config.yaml:4: restart[0].exclude[0]: names nothing, which would exclude every workload; name something, or remove the entry
        config.yaml:4: restart[0].wait: `5` is not a duration; write it like `30s`, `5m` or `1h30m`
        config.yaml:4: restart[0].require: `in-sync` needs the drift check, and `drift.enabled` is `false`; write `require: proven`, or let drift be checked
        ");
        insta::assert_snapshot!(refused("  - {names: [a]}\n"), @"config.yaml:4: restart[0].require: `in-sync` needs the drift check, and `drift.enabled` is `false`; write `require: proven`, or let drift be checked");
    }

    #[test]
    fn a_cooldown_of_zero_is_none() {
        let text = format!("{HEAD}restart: [{{names: [a], require: proven, cooldown: 0s}}]");
        assert_eq!(loaded(&text).restart[0].cooldown, std::time::Duration::ZERO);
    }

    #[test]
    fn restarts_need_to_be_allowed_and_within_the_ceiling() {
        let ceilings = Ceilings {
            allow: Some(vec![Capability::Sync]),
            max_restarts: Some(10),
            ..Ceilings::default()
        };
        let text = format!(
            "{HEAD}restart: [{{names: [a], require: proven}}]\nsafety: {{maxRestarts: 11}}\n"
        );
        insta::assert_snapshot!(with_ceilings(&text, ceilings.clone()).unwrap_err(), @"
        config.yaml:3: restart: needs what --allow does not name; remove it, or give --allow restart
        config.yaml:4: safety.maxRestarts: 11 is more than --max-restarts allows, which is 10; write at most 10, or raise --max-restarts
        ");
        let silent = with_ceilings(HEAD, ceilings).unwrap().policy;
        assert_eq!(silent.safety.max_restarts, 10);
    }
}
