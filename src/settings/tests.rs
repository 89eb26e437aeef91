use std::fmt::Write;

use eso_model::ProviderName;
use proptest::prelude::*;
use serde_json::json;

use super::{check::closest, *};
use crate::policy::{Capability, FailureLimit, InFlight, Pace};

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

/// Returns the errors of a file.
fn refused(text: &str) -> String {
    load(&file(text), &[]).unwrap_err().to_string()
}

/// Returns the errors of these lines below a valid `select`.
fn refused_below(text: &str) -> String {
    refused(&format!("select: [{{}}]\n{text}"))
}

fn loaded(text: &str) -> Policy {
    load(&file(text), &[])
        .unwrap_or_else(|invalid| panic!("{invalid}"))
        .policy
}

/// Returns the policy in the form of a policy file.
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
            sections: Sections::ALL,
            ..file(text)
        },
        &[],
    )
}

mod layers {
    use super::*;

    #[test]
    fn missing_keys_have_their_default() {
        assert_eq!(
            loaded("select: [{}]"),
            Policy::selecting(vec![crate::policy::Selection::default()])
        );
    }

    #[test]
    fn later_files_override_by_key_and_replace_lists() {
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
            azurekv: 100/s
            gcpsm: 2/s
            kubernetes: 100/s
            parameterStore: 10/s
            vault: 100/s
          stores: {}
          writes: {}
          kubernetes: 200/s
          restarts: 30/min
        safety:
          maxSyncs: 500
          maxRestarts: 50
          stopAfterFailures: 20%
          requireMatch: false
          keyNames: safe
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
    fn flags_override_variables_and_variables_override_files() {
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
    fn invalid_flag_value_names_the_command_line() {
        let mut sources = file("select: [{}]");
        sources
            .flags
            .insert("sync.timeout".to_owned(), json!("soon"));
        sources.flags.insert(
            "select".to_owned(),
            json!([{"names": ["Web"], "labelSelector": "a b"}]),
        );
        insta::assert_snapshot!(load(&sources, &[]).unwrap_err(), @"
        command line: select[0].labelSelector: `a b` is not a label selector (`a b` is not a valid label key); write it like `team=payments,tier!=test`
        command line: select[0].names[0]: `Web` has uppercase letters, but Kubernetes names are lowercase; write a name or a glob like `prod-*`
        command line: sync.timeout: `soon` is not a duration; write it like `30s`, `5m` or `1h30m`
        ");
    }

    #[test]
    fn digest_depends_on_content_and_not_on_source() {
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
    fn missing_files_are_named() {
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
    fn all_errors_are_reported_with_their_line() {
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
        config.yaml:2: select[0].namespaces[1]: `1234` is a number in YAML, not text; quote it: `"1234"`
        config.yaml:3: select[0].labelselector: is an unknown key; did you mean `labelSelector`?
        config.yaml:4: select[0].states[1]: `stale` is not a known value; write one of `ready`, `failed`, `never-synced`, `overdue`
        config.yaml:7: sync.timeout: `5 minutes` is not a duration; write it like `30s`, `5m` or `1h30m`
        config.yaml:8: sync.retries: `many` is not a number; write a whole number of at least 0, without quotes
        config.yaml:10: pace.default: `0/s` must be greater than zero; write it like `20/s`, `30/min` or `100/h`
        config.yaml:11: pace.inFlight: `0` is neither `auto` nor a whole number above zero; write `auto` or a whole number of at least 1
        config.yaml:13: safety.maxSyncs: `-1` is out of range or not a whole number; write a whole number of at least 1, without quotes
        config.yaml:14: safety.stopAfterFailures: `120%` is neither a number nor a percentage; write it like `10` or `20%`
        config.yaml:15: lock: is not a map; write keys below it: `enabled`
        config.yaml:16: deadline: `1d` is not a duration; write it like `30s`, `5m` or `1h30m`
        "#);
    }

    #[test]
    fn errors_of_all_layers_are_reported() {
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
        config.yaml:2: deadline: `0s` must be greater than zero; write it like `30s`, `5m` or `1h30m`
        broken.yaml:1: is not YAML: unclosed bracket '['
        more.yaml:3: sync.retries: `x` is not a number; write a whole number of at least 0, without quotes
        environment variable ESO_SYNC_LOCK__ENABLED: lock.enabled: `maybe` is neither `true` nor `false`; write `true` or `false`
        ");
    }

    #[test]
    fn unknown_key_suggests_the_known_one() {
        insta::assert_snapshot!(refused_below("\
Sync: {}
sync: {time-out: 1m, retrys: 1, restart: 1}
timeout: 1m
labels: x
pace: {in_flight: 3, Kubernetes: 1/s}
safety: {max-syncs: 1}
allow: [sync]
"), @"
        config.yaml:2: Sync: is an unknown key; did you mean `sync`?
        config.yaml:3: sync.time-out: is an unknown key; did you mean `timeout`?
        config.yaml:3: sync.retrys: is an unknown key; did you mean `retries`?
        config.yaml:3: sync.restart: is an unknown key; move it to `restart`
        config.yaml:4: timeout: is an unknown key; move it to `sync.timeout`
        config.yaml:5: labels: is an unknown key; known keys: `select`, `exclude`, `sync`, `restart`, `pace`, `safety`, `drift`, `advise`, `publish`, `events`, `notify`, `report`, `lock`, `deadline`
        config.yaml:6: pace.in_flight: is an unknown key; did you mean `inFlight`?
        config.yaml:6: pace.Kubernetes: is an unknown key; did you mean `kubernetes`?
        config.yaml:7: safety.max-syncs: is an unknown key; did you mean `maxSyncs`?
        config.yaml:8: allow: is an unknown key; known keys: `select`, `exclude`, `sync`, `restart`, `pace`, `safety`, `drift`, `advise`, `publish`, `events`, `notify`, `report`, `lock`, `deadline`
        ");
    }

    #[test]
    fn kubernetes_manifest_is_not_a_policy() {
        insta::assert_snapshot!(refused("apiVersion: v1\nkind: ConfigMap\ndata: {config.yaml: 'select: [{}]'}\n"), @"config.yaml:1: is a Kubernetes manifest; use the policy itself, as in the `data` of a ConfigMap");
    }

    #[test]
    fn duplicate_key_names_the_first_line() {
        insta::assert_snapshot!(refused_below("sync:\n  retries: 1\n  timeout: 1m\n  retries: 2\nsync: {}\n"), @"
        config.yaml:5: sync.retries: is set twice, first in line 3; remove one of the two
        config.yaml:6: sync: is set twice, first in line 2; remove one of the two
        ");
    }

    #[test]
    fn text_that_yaml_reads_as_another_type_needs_quotes() {
        insta::assert_snapshot!(refused("\
select:
  - names: [1234, 1.10, no, true, ~, 0x1f, 1e3, '1234', a1, 1_000]
    labelSelector: yes
    namespaces: [2024-01-01, 12:30]
sync: {annotation: 10}
"), @r#"
        config.yaml:2: select[0].names[0]: `1234` is a number in YAML, not text; quote it: `"1234"`
        config.yaml:2: select[0].names[1]: `1.10` is a number in YAML, not text; quote it: `"1.10"`
        config.yaml:2: select[0].names[2]: `no` is a boolean in YAML, not text; quote it: `"no"`
        config.yaml:2: select[0].names[3]: `true` is a boolean in YAML, not text; quote it: `"true"`
        config.yaml:2: select[0].names[4]: is empty; write a name or a glob like `prod-*`, or remove it
        config.yaml:2: select[0].names[5]: `0x1f` is a number in YAML, not text; quote it: `"0x1f"`
        config.yaml:2: select[0].names[6]: `1e3` is a number in YAML, not text; quote it: `"1e3"`
        config.yaml:2: select[0].names[9]: `1_000` is not a valid Kubernetes name; write a name or a glob like `prod-*`
        config.yaml:3: select[0].labelSelector: `yes` is a boolean in YAML, not text; quote it: `"yes"`
        config.yaml:4: select[0].namespaces[1]: `12:30` is not a valid Kubernetes name; write a name or a glob like `prod-*`
        config.yaml:5: sync.annotation: `10` is a number in YAML, not text; quote it: `"10"`
        "#);
    }

    #[test]
    fn quoted_text_is_not_a_number_or_boolean() {
        insta::assert_snapshot!(refused_below("\
sync: {retries: '2', generators: 'true'}
safety: {maxSyncs: 1.5, stopAfterFailures: '10'}
lock: {enabled: yes}
pace: {inFlight: 'auto'}
"), @"
        config.yaml:2: sync.retries: `2` is quoted, so it is text; write a whole number of at least 0, without quotes
        config.yaml:2: sync.generators: `true` is quoted, so it is text; write `true` or `false`
        config.yaml:3: safety.maxSyncs: `1.5` is out of range or not a whole number; write a whole number of at least 1, without quotes
        config.yaml:3: safety.stopAfterFailures: `10` is quoted, so it is text; write it like `10` or `20%`
        config.yaml:4: lock.enabled: `yes` is neither `true` nor `false`; write `true` or `false`
        ");
        insta::assert_snapshot!(refused_below("safety: {maxSyncs: 99999999999}\nsync: {retries: 010, generators: 1}\n"), @"
        config.yaml:2: safety.maxSyncs: `99999999999` is out of range or not a whole number; write a whole number of at least 1, without quotes
        config.yaml:3: sync.retries: `010` is out of range or not a whole number; write a whole number of at least 0, without quotes
        config.yaml:3: sync.generators: `1` is neither `true` nor `false`; write `true` or `false`
        ");
    }

    #[test]
    fn value_of_wrong_type_is_not_quoted() {
        insta::assert_snapshot!(refused("\
select: everything
exclude: {names: [a]}
sync: now
pace: {providers: [aws], stores: 5/s, default: [1/s], kubernetes: {a: 1/s}}
safety: [1]
"), @"
        config.yaml:1: select: is not a list; write a list: `[…]`, or one `- …` per line
        config.yaml:2: exclude: is a map; write a list: `[…]`, or one `- …` per line
        config.yaml:3: sync: is not a map; write keys below it: `when`, `annotation`, `generators`, `timeout`, `retries`, `onStillStale`
        config.yaml:4: pace.providers: is a list; write `key: value` pairs below it, such as `vault: 20/s`
        config.yaml:4: pace.stores: is not a map; write `key: value` pairs below it, such as `ClusterSecretStore/vault: 20/s`
        config.yaml:4: pace.default: is a list; write it like `20/s`, `30/min` or `100/h`
        config.yaml:4: pace.kubernetes: is a map; write it like `20/s`, `30/min` or `100/h`
        config.yaml:5: safety: is a list; write keys below it: `maxSyncs`, `maxRestarts`, `stopAfterFailures`, `requireMatch`, `keyNames`
        ");
    }

    #[test]
    fn empty_values_are_errors() {
        insta::assert_snapshot!(refused("select:\nsync:\n  timeout:\n  generators: ~\nexclude: null\n"), @"
        config.yaml:1: select: is empty; write a list: `[…]`, or one `- …` per line, or remove it
        config.yaml:3: sync.timeout: is empty; write it like `30s`, `5m` or `1h30m`, or remove it
        config.yaml:4: sync.generators: is empty; write `true` or `false`, or remove it
        config.yaml:5: exclude: is empty; write a list: `[…]`, or one `- …` per line, or remove it
        ");
    }

    #[test]
    fn keys_must_be_text() {
        insta::assert_snapshot!(refused_below("? [a, b]\n: 1\n{c: d}: 2\n"), @"
        config.yaml:2: a key is not text; write `key: value`
        config.yaml:4: a key is not text; write `key: value`
        ");
    }
}

mod yaml {
    use super::*;

    #[test]
    fn empty_file_sets_nothing() {
        for text in ["", "\n", "# select: []\n", "---\n", "{}", "\u{feff}"] {
            assert_eq!(
                refused(text),
                "config.yaml: select: is missing, so nothing is selected; write `select: [{namespaces: [\"prod-*\"]}]`, or `select: [{}]` to select everything",
                "{text:?}"
            );
        }
    }

    #[test]
    fn windows_line_endings_are_supported() {
        let text = "\u{feff}select: [{}]\r\nsync:\r\n  retries: 3\r\n";
        assert_eq!(loaded(text).sync.retries, 3);
        insta::assert_snapshot!(refused(&text.replace('3', "x")), @"config.yaml:3: sync.retries: `x` is not a number; write a whole number of at least 0, without quotes");
    }

    #[test]
    fn syntax_error_does_not_quote_the_file() {
        insta::assert_snapshot!(refused("select: [{names: [a}]"), @"config.yaml:1: is not YAML: mismatched bracket '[' closed by '}'");
        insta::assert_snapshot!(refused("select:\n\t- {}\n"), @"config.yaml:2: is not YAML: tabs disallowed within this context (block indentation)");
        insta::assert_snapshot!(refused("select: [{}]\nsync: {annotation: \"hunter2\n"), @"config.yaml:2: is not YAML: unclosed quote");
        insta::assert_snapshot!(refused("password: hunter2: hunter3\n"), @"config.yaml:1: is not YAML: mapping values are not allowed in this context");
        insta::assert_snapshot!(refused("select: [{}]\n}\n"), @"config.yaml:2: is not YAML: misplaced bracket");
    }

    /// A message that was moved there would be received again.
    #[test]
    fn poison_queue_is_not_a_queue_of_events() {
        let error = |queues: &str| {
            let text = format!("select: [{{}}]\nevents:\n  queues:\n{queues}");
            with_ceilings(&text, Ceilings::default())
                .map(drop)
                .map_err(|it| it.to_string())
        };
        let queue = |name: &str, poison: &str| {
            format!(
                "    - azureQueue:\n        url: https://shop.queue.core.windows.net/{name}\n        poison: {poison}\n"
            )
        };
        assert_eq!(error(&queue("eso-sync", "eso-sync-poison")), Ok(()));
        insta::assert_snapshot!(error(&queue("eso-sync", "eso-sync")).unwrap_err(), @"config.yaml:6: events.queues[0].azureQueue.poison: is the queue itself, so messages that are not understood would come back; name another queue of the same storage account");
        let both = [queue("eso-sync", "other"), queue("other", "third")].concat();
        insta::assert_snapshot!(error(&both).unwrap_err(), @"config.yaml:6: events.queues[0].azureQueue.poison: is `queues[1]`, so messages that are not understood would come back; name another queue of the same storage account");
    }

    #[test]
    fn file_without_keys_is_not_quoted() {
        let signed = "select: [{}]\nevents: {queues: [{azureQueue: {url: 'https://shop.queue.core.windows.net/eso-sync?sig=hunter2'}}]}";
        insta::assert_snapshot!(with_ceilings(signed, Ceilings::default()).unwrap_err().to_string(), @"config.yaml:2: events.queues[0].azureQueue.url: `https://shop.queue.core.windows.net/eso-sync` has a query, as a URL with a SAS token: the job logs in with its own identity; write `https://ACCOUNT.queue.core.windows.net/QUEUE`, without a SAS token");
        insta::assert_snapshot!(refused("hunter2"), @"config.yaml:1: is not a policy; write keys such as `select:` and `sync:` at the top level");
        insta::assert_snapshot!(refused("- hunter2\n- b\n"), @"config.yaml:1: is not a policy; write keys such as `select:` and `sync:` at the top level");
    }

    #[test]
    fn second_document_is_an_error() {
        insta::assert_snapshot!(refused("select: [{}]\n---\nsync: {}\n"), @"config.yaml:2: a second document starts here; a policy is one document: use several files, or remove the `---`");
        assert_eq!(loaded("---\nselect: [{}]\n...\n"), loaded("select: [{}]"));
    }

    #[test]
    fn aliases_merge_keys_and_tags_are_errors() {
        insta::assert_snapshot!(refused("\
select: [{names: &web [a]}, {names: *web}]
sync:
  <<: &fast {timeout: 1s}
  annotation: !!str x
  retries: *none
pace:
  <<: [*fast, *faster]
"), @r#"
        config.yaml:1: select[1].names: is a YAML alias, which a policy may not use; write the value instead
        config.yaml:3: sync.<<: is a YAML merge key, which a policy may not use; write the keys instead
        config.yaml:4: sync.annotation: has a YAML tag, which a policy may not use; remove it, or quote the value if it starts with `!`
        config.yaml:5: sync.retries: `*none` is a YAML alias; if a glob is meant, quote it: `"*none"`
        config.yaml:7: pace.<<: is a YAML merge key, which a policy may not use; write the keys instead
        "#);
    }

    #[test]
    fn unquoted_glob_or_negation_suggests_quotes() {
        insta::assert_snapshot!(refused("select:\n  - names: [*-db, ok]\n    labelSelector: !canary\n"), @r#"
        config.yaml:2: select[0].names[0]: `*-db` is a YAML alias; if a glob is meant, quote it: `"*-db"`
        config.yaml:3: select[0].labelSelector: has a YAML tag, which a policy may not use; remove it, or quote the value if it starts with `!`
        "#);
    }

    #[test]
    fn alias_bomb_fails_at_the_first_alias() {
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
    fn deep_nesting_is_an_error() {
        insta::assert_snapshot!(refused(&"[".repeat(100_000)), @"config.yaml:1: is nested deeper than 32 levels; use fewer levels");
        insta::assert_snapshot!(refused(&"- ".repeat(100_000)), @"config.yaml:1: is nested deeper than 32 levels; use fewer levels");
        insta::assert_snapshot!(refused(&format!("select: {}", "{a: ".repeat(50))), @"config.yaml:1: is nested deeper than 32 levels; use fewer levels");
    }

    #[test]
    fn long_values_are_shortened() {
        insta::assert_snapshot!(refused_below(&format!("deadline: {}\nlock: {{enabled: \"a\\nb\"}}\n", "x".repeat(5_000))), @r"
        config.yaml:2: deadline: `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…` is not a duration; write it like `30s`, `5m` or `1h30m`
        config.yaml:3: lock.enabled: `a\nb` is neither `true` nor `false`; write `true` or `false`
        ");
    }
}

mod values {
    use super::*;

    #[test]
    fn empty_selections_are_errors() {
        insta::assert_snapshot!(refused("select: []\n"), @"config.yaml:1: select: is empty, so nothing is selected; add an entry, or write `[{}]` to select everything");
        insta::assert_snapshot!(refused("sync: {}\n"), @r#"config.yaml: select: is missing, so nothing is selected; write `select: [{namespaces: ["prod-*"]}]`, or `select: [{}]` to select everything"#);
        insta::assert_snapshot!(refused("select:\n  -\n  - {names: []}\n  - {names: [], providers: []}\nexclude:\n  - {}\n  - {states: []}\n"), @"
        config.yaml:2: select[0]: is empty; write `{}` to select every ExternalSecret, or remove it
        config.yaml:3: select[1]: is empty, which would select every ExternalSecret; write `{}` to select every ExternalSecret
        config.yaml:4: select[2]: is empty, which would select every ExternalSecret; write `{}` to select every ExternalSecret
        config.yaml:6: exclude[0]: is empty, which would exclude every ExternalSecret; add a field, or remove the entry
        config.yaml:7: exclude[1]: is empty, which would exclude every ExternalSecret; add a field, or remove the entry
        ");
        assert_eq!(
            loaded("select: [{}, {names: [], namespaces: [a]}]")
                .select
                .len(),
            2
        );
    }

    #[test]
    fn name_globs_must_match_valid_names() {
        insta::assert_snapshot!(refused("select: [{names: ['a[', Web, a/b, '', 'a_*', '-a'], namespaces: ['{a', 'prod-*']}]"), @"
        config.yaml:1: select[0].names[0]: `a[` is not a glob: unclosed character class; missing ']'; write a name or a glob like `prod-*`
        config.yaml:1: select[0].names[1]: `Web` has uppercase letters, but Kubernetes names are lowercase; write a name or a glob like `prod-*`
        config.yaml:1: select[0].names[2]: `a/b` is not a valid Kubernetes name; write a name or a glob like `prod-*`
        config.yaml:1: select[0].names[3]: `` is empty; write a name or a glob like `prod-*`
        config.yaml:1: select[0].names[4]: `a_*` contains `_`, which Kubernetes names cannot contain; write a name or a glob like `prod-*`
        config.yaml:1: select[0].names[5]: `-a` is not a valid Kubernetes name; write a name or a glob like `prod-*`
        config.yaml:1: select[0].namespaces[0]: `{a` is not a glob: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?); write a name or a glob like `prod-*`
        ");
    }

    #[test]
    fn selectors_have_kubectl_syntax() {
        insta::assert_snapshot!(refused("\
select:
  - labelSelector: a in (b
    namespaceSelector: {matchLabels: {a: b}}
  - labelSelector: [a=b]
    namespaceSelector: \"a=b c\"
"), @"
        config.yaml:2: select[0].labelSelector: `a in (b` is not a label selector (a closing parenthesis is missing); write it like `team=payments,tier!=test`
        config.yaml:3: select[0].namespaceSelector: is a map; write it like `team=payments,tier!=test`
        config.yaml:4: select[1].labelSelector: is a list; write it like `team=payments,tier!=test`
        config.yaml:5: select[1].namespaceSelector: `a=b c` is not a label selector (`b c` is not a valid label value); write it like `team=payments,tier!=test`
        ");
    }

    #[test]
    fn stores_have_a_kind() {
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
        config.yaml:4: select[0].stores[1].kind: `secretstore` is not a known value; write one of `SecretStore`, `ClusterSecretStore`
        config.yaml:5: select[0].stores[2]: has no key `name`; write a name or a glob like `prod-*`
        config.yaml:6: select[0].stores[3]: is not a map; write keys below it: `kind`, `namespace`, `name`
        config.yaml:7: select[0].stores[4].names: is an unknown key; did you mean `name`?
        config.yaml:7: select[0].stores[4]: has no key `name`; write a name or a glob like `prod-*`
        ");
    }

    #[test]
    fn providers_have_their_short_names() {
        let policy = loaded(
            "select: [{providers: [azure, gcp, vault, onepasswordSDK]}]\npace: {providers: {azure: 7/s}}\n",
        );
        assert_eq!(
            policy.select[0]
                .providers
                .iter()
                .map(ProviderName::as_str)
                .collect::<Vec<_>>(),
            ["azurekv", "gcpsm", "vault", "onepasswordSDK"]
        );
        assert_eq!(
            policy.pace.providers[&"azure".parse().unwrap()].to_string(),
            "7/s"
        );
        insta::assert_snapshot!(refused("select: [{providers: [AWS, a-b, '']}]\npace: {providers: {azure: 1/s, azurekv: 2/s, AWS: 1/s}}\n"), @"
        config.yaml:1: select[0].providers[0]: `AWS` is not a provider type; write it as in the spec of a store, for example `aws`, `azurekv`, `gcpsm` or `vault`
        config.yaml:1: select[0].providers[1]: `a-b` is not a provider type; write it as in the spec of a store, for example `aws`, `azurekv`, `gcpsm` or `vault`
        config.yaml:1: select[0].providers[2]: `` is not a provider type; write it as in the spec of a store, for example `aws`, `azurekv`, `gcpsm` or `vault`
        config.yaml:2: pace.providers.azurekv: `azurekv` is already set under its other name; remove one of the two
        config.yaml:2: pace.providers.AWS: `AWS` is not a provider type; write it as in the spec of a store, for example `aws`, `azurekv`, `gcpsm` or `vault`
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
        config.yaml:5: pace.providers.aws: `0/s` must be greater than zero; write it like `20/s`, `30/min` or `100/h`
        config.yaml:5: pace.providers.vault: `5/d` is not a rate; write it like `20/s`, `30/min` or `100/h`
        config.yaml:5: pace.providers.fake: `0.001/h` must be between `1/h` and `1000000/s`; write it like `20/s`, `30/min` or `100/h`
        config.yaml:5: pace.providers.gcp: `fast` is not a rate; write it like `20/s`, `30/min` or `100/h`
        config.yaml:6: pace.stores.SecretStore/a: `SecretStore/a` is not a store; write `ClusterSecretStore/NAME` or `SecretStore/NAMESPACE/NAME`
        config.yaml:6: pace.stores.ClusterSecretStore/a*: `ClusterSecretStore/a*` is not a store; write `ClusterSecretStore/NAME` or `SecretStore/NAMESPACE/NAME`
        config.yaml:6: pace.stores.SecretStore/b/c: `1e3/s` is not a rate; write it like `20/s`, `30/min` or `100/h`
        ");
    }

    #[test]
    fn limits_are_numbers_auto_or_percentages() {
        let policy = loaded("select: [{}]\npace: {inFlight: 12}\nsafety: {stopAfterFailures: 3}\n");
        assert_eq!(
            policy.pace.in_flight,
            InFlight::Fixed(12.try_into().unwrap())
        );
        assert_eq!(policy.safety.stop_after_failures, FailureLimit::Count(3));
        insta::assert_snapshot!(refused_below("pace: {inFlight: few}\nsafety: {maxSyncs: 0, stopAfterFailures: 1.5}\nsync: {retries: -1}\n"), @"
        config.yaml:2: pace.inFlight: `few` is neither `auto` nor a whole number above zero; write `auto` or a whole number of at least 1
        config.yaml:3: safety.maxSyncs: `0` is out of range or not a whole number; write a whole number of at least 1, without quotes
        config.yaml:3: safety.stopAfterFailures: `1.5` is neither a number nor a percentage; write it like `10` or `20%`
        config.yaml:4: sync.retries: `-1` is out of range or not a whole number; write a whole number of at least 0, without quotes
        ");
    }

    #[test]
    fn report_files_and_links_have_a_form() {
        insta::assert_snapshot!(refused_below("report:\n  history: 51\n  url: 'javascript:x'\n  files:\n    - {format: html, name: a.html}\n    - {format: json, name: A.html}\n    - {format: pdf, name: ../b}\n"), @"
        config.yaml:4: report.url: `javascript:x` is not a link; write a link like `https://reports.example/eso-sync`, with at most 500 characters and without a user
        config.yaml:8: report.files[2].format: `pdf` is not a known value; write one of `json`, `yaml`, `csv`, `junit`, `markdown`, `sarif`, `html`
        config.yaml:8: report.files[2].name: `../b` is not the name of a file; write a name of letters, digits, `-`, `_` and `.`, without a folder; --report-dir names the folder
        ");
        insta::assert_snapshot!(refused_below("report:\n  history: 51\n  files:\n    - {format: html, name: a.html}\n    - {format: json, name: A.html}\n"), @"
        config.yaml:3: report.history: 51 is more than a ConfigMap can hold; write at most 50
        config.yaml:6: report.files[1].name: `A.html` is the name of another file; choose another name
        ");
        for url in [
            "ftp://a",
            "https://",
            "https://user@a",
            "https://a/ b",
            "https://a/)[x](y",
            "https://a/<b>",
        ] {
            assert!(
                refused_below(&format!("report: {{url: '{url}'}}")).contains("is not a link"),
                "{url}"
            );
        }
        let policy = loaded("select: [{}]\nreport: {history: 50, url: 'http://a:1/b?c=d#e'}");
        assert_eq!(policy.report.history, 50);
    }

    #[test]
    fn reserved_annotations_are_errors() {
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
            "eso-sync/rotate",
            "eso-sync/stamp",
            "a b",
            "/a",
            "a/b/c",
        ] {
            let text = format!("sync: {{annotation: {key}}}\n");
            assert!(refused_below(&text).contains("sync.annotation"), "{key}");
        }
        insta::assert_snapshot!(refused_below("sync: {annotation: eso-sync/ignore}"), @"config.yaml:2: sync.annotation: `eso-sync/ignore` is reserved: eso-sync reads this annotation; write a key like `force-sync` or `eso-sync/force-sync`");
        insta::assert_snapshot!(refused_below("sync: {annotation: a b}"), @"config.yaml:2: sync.annotation: `a b` is not an annotation key; write a key like `force-sync` or `eso-sync/force-sync`");
    }

    #[test]
    fn durations_are_greater_than_zero() {
        insta::assert_snapshot!(refused("select: [{overdueAfter: 0}]\nsync: {timeout: 90}\ndeadline: -5m\n"), @"
        config.yaml:1: select[0].overdueAfter: `0` must be greater than zero; write it like `30s`, `5m` or `1h30m`
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
            gcpsm: 100/s
            kubernetes: 100/s
            parameterStore: 10/s
            vault: 100/s
          stores:
            ClusterSecretStore/a: 3/s
          writes: {}
          kubernetes: 200/s
          restarts: 30/min
        safety:
          maxSyncs: 10
          maxRestarts: 50
          stopAfterFailures: 5%
          requireMatch: false
          keyNames: safe
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
    fn invalid_value_names_its_variable() {
        insta::assert_snapshot!(with_variables(&[
            ("ESO_SYNC_SELECT", "a,b"),
            ("ESO_SYNC_EXCLUDE", "[{names: [1234], nmaes: []}, *x]"),
            ("ESO_SYNC_SAFETY", " "),
            ("ESO_SYNC_SYNC", "{retries: x}"),
            ("ESO_SYNC_SYNC__TIMEOUT", " "),
            ("ESO_SYNC_SAFETY__MAX_SYNCS", "ten"),
            ("ESO_SYNC_PACE", "[a"),
            ("ESO_SYNC_PACE__STORES__VAULT", "1/s"),
            ("ESO_SYNC_LOCK__ENABLED", "yes"),
        ]).unwrap_err(), @r#"
        environment variable ESO_SYNC_EXCLUDE: exclude[1]: `*x` is a YAML alias; if a glob is meant, quote it: `"*x"`
        environment variable ESO_SYNC_EXCLUDE: exclude[0].names[0]: `1234` is a number in YAML, not text; quote it: `"1234"`
        environment variable ESO_SYNC_EXCLUDE: exclude[0].nmaes: is an unknown key; did you mean `names`?
        environment variable ESO_SYNC_LOCK__ENABLED: lock.enabled: `yes` is neither `true` nor `false`; write `true` or `false`
        environment variable ESO_SYNC_PACE: pace: is not YAML: unclosed bracket '['
        environment variable ESO_SYNC_PACE__STORES__VAULT: pace.stores.vault: `vault` is not a store; write `ClusterSecretStore/NAME` or `SecretStore/NAMESPACE/NAME`
        environment variable ESO_SYNC_SAFETY: safety: is empty; write keys below it: `maxSyncs`, `maxRestarts`, `stopAfterFailures`, `requireMatch`, `keyNames`, or remove it
        environment variable ESO_SYNC_SAFETY__MAX_SYNCS: safety.maxSyncs: `ten` is not a number; write a whole number of at least 1, without quotes
        environment variable ESO_SYNC_SELECT: select: is not a list; write a list: `[…]`, or one `- …` per line
        environment variable ESO_SYNC_SYNC: sync.retries: `x` is not a number; write a whole number of at least 0, without quotes
        environment variable ESO_SYNC_SYNC__TIMEOUT: sync.timeout: ` ` is not a duration; write it like `30s`, `5m` or `1h30m`
        "#);
    }

    #[test]
    fn empty_variable_counts_as_unset() {
        let set = [("ESO_SYNC_DEADLINE", "1h")];
        let empty = [
            ("ESO_SYNC_SELECT", ""),
            ("ESO_SYNC_SAFETY", ""),
            ("ESO_SYNC_SYNC__TIMEOUT", ""),
            ("ESO_SYNC_LOCK__ENABLED", ""),
        ];
        let merged = |variables: &[(&str, &str)]| {
            let loaded = with_variables(variables).unwrap();
            (loaded.digest, loaded.warnings)
        };
        assert_eq!(merged(&[&set[..], &empty].concat()), merged(&set));
    }

    #[test]
    fn unknown_variable_is_a_warning() {
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
        ignored `ESO_SYNC_PORT`, `ESO_SYNC_PORT_80_TCP_ADDR`, `ESO_SYNC_SERVICE_HOST`, `ESO_SYNC_SERVICE_PORT`, `ESO_SYNC_SERVICE_PORT_HTTP`: Kubernetes sets them for a Service called `eso-sync`; set `enableServiceLinks: false` in the Pod's spec to stop that
        ignored environment variable ESO_SYNC_COLOUR: unknown policy key or flag
        ignored environment variable ESO_SYNC_SYNC__TIMEOT: unknown policy key or flag; did you mean `ESO_SYNC_SYNC__TIMEOUT`?
        ignored environment variable ESO_SYNC_sync__timeout: unknown policy key or flag; did you mean `ESO_SYNC_SYNC__TIMEOUT`?
        ");
    }
}

mod ceilings {
    use clap::Parser as _;

    use super::*;
    use crate::{
        cli::{Cli, Command},
        policy::ceilings::{Class, KEYS},
    };

    /// Validates a policy with these flags of the command line.
    fn validate(text: &str, flags: &str) -> Result<Policy, String> {
        let words = ["eso-sync", "validate"]
            .into_iter()
            .chain(flags.split_whitespace());
        let Command::Validate(args) = Cli::try_parse_from(words).unwrap().command else {
            panic!("another command");
        };
        let loaded = with_ceilings(
            &format!("select: [{{}}]\n{text}"),
            (&args.policy.ceilings).into(),
        );
        loaded
            .map(|loaded| loaded.policy)
            .map_err(|invalid| invalid.to_string())
    }

    /// What somebody who can only edit the policy may try, to get more power or the job's credentials: the key in the error, and
    /// the policy.
    const ATTACKS: &[(&str, &str)] = &[
        ("sync.when", "sync: {when: always}"),
        (
            "sync.annotation",
            "sync: {annotation: meta.helm.sh/release-name}",
        ),
        (
            "sync.annotation",
            "sync: {annotation: eso-sync.evil.example/x}",
        ),
        (
            "sync.annotation",
            "sync: {annotation: external-secrets.io/disable-maintenance-checks}",
        ),
        ("sync.generators", "sync: {generators: true}"),
        ("sync.retries", "sync: {retries: 3}"),
        ("sync.onStillStale", "sync: {onStillStale: refetch}"),
        ("sync.onStillStale", "sync: {onStillStale: recreate}"),
        ("restart", "restart: [{match: references}]"),
        (
            "restart[0].when",
            "restart: [{match: references, when: unproven}]",
        ),
        (
            "restart[0].when",
            "restart: [{match: references, when: always}]",
        ),
        (
            "restart[1].require",
            "restart: [{match: references}, {names: [a], require: proven}]",
        ),
        (
            "restart[0].duringDenyWindow",
            "restart: [{match: references, duringDenyWindow: restart}]",
        ),
        (
            "restart[0].onBrokenData",
            "restart: [{match: references, onBrokenData: restart}]",
        ),
        (
            "restart[0].strategy",
            "restart: [{match: references, strategy: evict}]",
        ),
        (
            "restart[0].maxConcurrent",
            "restart: [{match: references, maxConcurrent: 2}]",
        ),
        (
            "restart[0].cooldown",
            "restart: [{match: references, cooldown: 0s}]",
        ),
        (
            "restart[0].maxPerDay",
            "restart: [{match: references, maxPerDay: 5}]",
        ),
        ("pace.inFlight", "pace: {inFlight: 21}"),
        ("pace.default", "pace: {default: 1000000/s}"),
        (
            "pace.providers.vault",
            "pace: {providers: {vault: 1000000/s}}",
        ),
        (
            "pace.providers.azurekv",
            "pace: {providers: {azure: 1000000/s}}",
        ),
        (
            "pace.providers.unheardOf",
            "pace: {providers: {unheardOf: 1000000/s}}",
        ),
        ("pace.kubernetes", "pace: {kubernetes: 1000000/s}"),
        ("pace.restarts", "pace: {restarts: 1000000/s}"),
        ("safety.maxSyncs", "safety: {maxSyncs: 4294967295}"),
        ("safety.maxRestarts", "safety: {maxRestarts: 51}"),
        (
            "safety.stopAfterFailures",
            "safety: {stopAfterFailures: 100%}",
        ),
        ("safety.stopAfterFailures", "safety: {stopAfterFailures: 3}"),
        ("drift.enabled", "drift: {enabled: true}"),
        ("drift.credentials", "drift: {credentials: store}"),
        (
            "drift.stores.ClusterSecretStore/a.b",
            "drift: {stores: {ClusterSecretStore/a.b: ambient}}",
        ),
        (
            "drift.stores.SecretStore/evil/vault",
            "drift: {stores: {SecretStore/evil/vault: store}}",
        ),
        (
            "drift.endpoints[1]",
            "drift: {endpoints: ['https://good.example', 'https://evil.example']}",
        ),
        (
            "drift.endpoints[0]",
            "drift: {endpoints: ['https://good.example:8200']}",
        ),
        ("drift.namespacedStores", "drift: {namespacedStores: true}"),
        ("drift.onUnverifiable", "drift: {onUnverifiable: sync}"),
        (
            "publish.items",
            "publish: {owner: a, items: [{name: a, source: {path: {dir: good}}, read: {files: [{path: a}]}, to: {aws: {region: good}}}]}",
        ),
        (
            "events.queues",
            "events: {queues: [{sqs: {url: 'https://sqs.eu-west-1.amazonaws.com/123456789012/good'}}]}",
        ),
        (
            "events.queues[0].sqs",
            "events: {queues: [{sqs: {url: 'https://sqs.eu-west-1.amazonaws.com/123456789012/evil'}}]}",
        ),
        (
            "events.queues[0].azureQueue",
            "events: {queues: [{azureQueue: {url: 'https://evil.queue.core.windows.net/good'}}]}",
        ),
        (
            "events.queues[0].azureQueue",
            "events: {queues: [{azureQueue: {url: 'https://good.queue.core.windows.net/good', poison: orders}}]}",
        ),
        (
            "events.queues[0].pubsub",
            "events: {queues: [{pubsub: {subscription: projects/evil/subscriptions/good}}]}",
        ),
        ("events.owner", "events: {owner: warn}"),
        (
            "publish.items[0].source",
            "publish: {owner: a, items: [{name: a, source: {flux: {namespace: evil, name: a}}, read: {files: [{path: a}]}, to: {aws: {region: good}}}]}",
        ),
        (
            "publish.items[0].source",
            "publish: {owner: a, items: [{name: a, source: {git: {url: 'https://evil.example/a'}}, read: {files: [{path: a}]}, to: {aws: {region: good}}}]}",
        ),
        (
            "publish.items[0].source",
            "publish: {owner: a, items: [{name: a, source: {git: {url: 'https://good.example/../a', ref: evil}}, read: {files: [{path: a}]}, to: {aws: {region: good}}}]}",
        ),
        (
            "publish.items[0].source",
            "publish: {owner: a, items: [{name: a, source: {argocd: {namespace: evil, name: a, repos: ['*']}}, read: {files: [{path: a}]}, to: {aws: {region: good}}}]}",
        ),
        (
            "publish.items[0].to",
            "publish: {owner: a, items: [{name: a, source: {path: {dir: good}}, read: {files: [{path: a}]}, to: {aws: {region: evil}}}]}",
        ),
        (
            "publish.items[0].to",
            "publish: {owner: a, items: [{name: a, source: {path: {dir: good}}, read: {files: [{path: a}]}, to: {store: {kind: SecretStore, namespace: evil, name: good}}}]}",
        ),
        (
            "publish.items[0].to",
            "publish: {owner: a, items: [{name: a, source: {path: {dir: good}}, read: {files: [{path: a}]}, to: {gcp: {project: evil}}}]}",
        ),
        (
            "publish.items[0].create",
            "publish: {owner: a, items: [{name: a, source: {path: {dir: good}}, read: {files: [{path: a}]}, to: {aws: {region: good}}, create: {kmsKey: 'arn:aws:kms:eu-west-1:210987654321:key/evil'}}]}",
        ),
        (
            "publish.items[0].create",
            "publish: {owner: a, items: [{name: a, source: {path: {dir: good}}, read: {files: [{path: a}]}, to: {aws: {region: good}}, create: {tags: {team: evil}}}]}",
        ),
        (
            "publish.items[0].to",
            "publish: {owner: a, items: [{name: a, source: {path: {dir: good}}, read: {files: [{path: a}]}, to: {azure: {vaultUrl: 'https://evil.vault.azure.net'}}}]}",
        ),
        (
            "publish.items[0].sops.kms",
            "publish: {owner: a, items: [{name: a, source: {path: {dir: good}}, read: {files: [{path: a}]}, to: {aws: {region: good}}, sops: {kms: ['*']}}]}",
        ),
        (
            "publish.items[0].sops.allowEmpty",
            "publish: {owner: a, items: [{name: a, source: {path: {dir: good}}, read: {files: [{path: a}]}, to: {aws: {region: good}}, sops: {allowEmpty: true}}]}",
        ),
        (
            "publish.items[0].sops.allowUnencrypted",
            "publish: {owner: a, items: [{name: a, source: {path: {dir: good}}, read: {files: [{path: a}]}, to: {aws: {region: good}}, sops: {allowUnencrypted: true}}]}",
        ),
        (
            "publish.items[0].write.adopt",
            "publish: {owner: a, items: [{name: a, source: {path: {dir: good}}, read: {files: [{path: a}]}, to: {aws: {region: good}}, write: {adopt: equal}}]}",
        ),
        (
            "publish.items[0].write.onForeignChange",
            "publish: {owner: a, items: [{name: a, source: {path: {dir: good}}, read: {files: [{path: a}]}, to: {aws: {region: good}}, write: {onForeignChange: overwrite}}]}",
        ),
        (
            "publish.items[0].versions.keep",
            "publish: {owner: a, items: [{name: a, source: {path: {dir: good}}, read: {files: [{path: a}]}, to: {aws: {region: good}}, versions: {keep: 1}}]}",
        ),
        (
            "publish.items[0].prune.mode",
            "publish: {owner: a, items: [{name: a, source: {path: {dir: good}}, read: {files: [{path: a}]}, to: {aws: {region: good}}, prune: {mode: prune}}]}",
        ),
        (
            "publish.items[0].then.sync",
            "sync: {when: never}\npublish: {owner: a, items: [{name: a, source: {path: {dir: good}}, read: {files: [{path: a}]}, to: {aws: {region: good}}, then: {sync: true}}]}",
        ),
        (
            "notify.to[0]",
            "notify: {to: [{slack: {urlFrom: env:EVIL}}]}",
        ),
        ("report.history", "report: {history: 1}"),
        ("lock.enabled", "lock: {enabled: false}"),
        ("deadline", "deadline: 10m1s"),
    ];

    /// The flags of a job that does what a policy is for.
    fn flags(key: &str) -> &'static str {
        match key {
            "sync.when" => "--allow drift --allow-endpoint https://good.example",
            "restart" => "--allow drift,sync --allow-endpoint https://good.example",
            "drift.enabled" => "--allow sync --allow-endpoint https://good.example",
            "events.queues" => {
                "--allow drift,sync --allow-queue https://sqs.eu-west-1.amazonaws.com/123456789012/good"
            }
            key if key.starts_with("events.queues") => {
                "--allow drift,sync,events --allow-queue https://sqs.eu-west-1.amazonaws.com/123456789012/good,https://good.queue.core.windows.net/good"
            }
            "publish.items" => {
                "--allow drift,sync --allow-target aws/good --allow-source path/good"
            }
            "publish.items[0].then.sync" => {
                "--allow drift,publish --allow-target aws/good --allow-source path/good"
            }
            key if key.starts_with("publish.") => {
                "--allow drift,sync,publish --allow-target aws/good --allow-source path/good"
            }
            _ => "--allow drift,sync,restart --allow-endpoint https://good.example",
        }
    }

    /// The flag that the error names makes the policy valid. Without `--allow` no flag is needed.
    #[test]
    fn no_key_exceeds_its_ceiling_without_the_flag_that_the_error_names() {
        for (key, text) in ATTACKS {
            let before = flags(key);
            let refused = validate(text, before).expect_err(text);
            assert_eq!(refused.lines().count(), 1, "{refused}");
            assert!(refused.contains(&format!(" {key}: ")), "{text}: {refused}");
            let (_, flag) = refused.split_once(", or add ").expect("a flag");
            let after = format!("{before} {flag}");
            assert!(validate(text, &after).is_ok(), "{text}: {after}");
            assert!(validate(text, "").is_ok(), "{text}");
        }
    }

    /// A path with `[]` for each index.
    fn without_indices(key: &str) -> String {
        key.split('[')
            .map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()))
            .collect::<Vec<_>>()
            .join("[")
    }

    #[test]
    fn every_ceiling_is_attacked() {
        for key in KEYS {
            let tried = ATTACKS.iter().any(|(tried, _)| {
                let tried = without_indices(tried);
                tried == key.path
                    || Some(&*tried) == key.path.strip_suffix(".*")
                    || tried.strip_prefix(key.path).is_some_and(|rest| {
                        matches!(
                            key.path,
                            "pace.providers" | "drift.stores" | "drift.endpoints"
                        ) && rest.starts_with(['.', '['])
                    })
            });
            match key.class {
                Class::Narrows | Class::Scope(_) => assert!(!tried, "{}", key.path),
                Class::Allowed { .. } | Class::Limited { .. } => {
                    assert!(tried, "{} has no attack", key.path);
                }
            }
        }
    }

    /// All keys of the schema that hold a value, and lists of sections as well.
    fn keys(schema: &serde_json::Value, path: &str, found: &mut Vec<String>) {
        use schema::Shape;
        let shape = Shape::of(schema);
        if let Some(section) = shape.section() {
            for (name, key) in section.keys() {
                keys(key, &tree::below(path, name), found);
            }
            return;
        }
        found.push(path.to_owned());
        if let Shape::List { of, .. } = shape
            && Shape::of(of).section().is_some()
        {
            keys(of, &format!("{path}[]"), found);
        }
    }

    /// A key without a class might widen what the job does. Add its row to `KEYS`.
    #[test]
    fn every_key_is_classified_once() {
        let mut found = Vec::new();
        keys(schema::policy(), "", &mut found);
        assert!(found.len() > 50, "{found:?}");
        let is_row = |path: &str, key: &str| match path.strip_suffix(".*") {
            Some(all) => {
                let below = key
                    .strip_prefix(all)
                    .is_some_and(|rest| rest.starts_with('.'));
                below || Some(key) == all.strip_suffix("[]")
            }
            None => key == path,
        };
        for key in &found {
            let rows = KEYS.iter().filter(|row| is_row(row.path, key)).count();
            // Lists of sections have a row only if having an entry at all is a power.
            let is_list = found
                .iter()
                .any(|other| other.starts_with(&format!("{key}[]")));
            assert!(
                rows == 1 || (rows == 0 && is_list),
                "{key} has {rows} rows in KEYS"
            );
        }
        for row in KEYS {
            assert!(
                found.iter().any(|key| is_row(row.path, key)),
                "{} is not a key",
                row.path
            );
        }
    }

    #[test]
    fn defaults_are_within_all_ceilings() {
        let policy = validate("", "--allow drift,sync").unwrap();
        assert_eq!(policy, loaded("select: [{}]"));
    }

    /// Values that only narrow need no flag.
    #[test]
    fn narrower_values_need_no_flag() {
        for text in [
            "sync: {annotation: my-sync}",
            "sync: {annotation: eso-sync/now}",
            "sync: {annotation: eso.external-secrets.io/force-sync}",
            "sync: {annotation: external-secrets.io/force-sync}",
            "sync: {retries: 0, when: failed, timeout: 5m}",
            "restart: [{match: references, cooldown: 1h, maxPerDay: 1, wait: 1h}]",
            "pace: {inFlight: 20, default: 1/s, kubernetes: 1/s, restarts: 1/h, providers: {aws: 1/h, unheardOf: 20/s}}",
            "pace: {stores: {ClusterSecretStore/a: 1000000/s}}",
            "pace: {writes: {aws: 1000000/s}}",
            "safety: {maxSyncs: 1, maxRestarts: 0, stopAfterFailures: 5%}",
            "safety: {stopAfterFailures: 2}",
            "drift: {onUnverifiable: report, endpoints: ['https://good.example']}",
            "deadline: 1m",
            "exclude: [{names: [a]}]",
        ] {
            let validated = validate(text, flags(""));
            assert!(validated.is_ok(), "{text}: {validated:?}");
        }
    }

    /// Each flag is a ceiling without `--allow` too.
    #[test]
    fn a_flag_limits_its_key_without_allow() {
        let refused = |text: &str, flags: &str| validate(text, flags).expect_err(text);
        insta::assert_snapshot!(refused("pace: {providers: {vault: 11/s}}", "--max-rate vault=10/s"), @"config.yaml:2: pace.providers.vault: 11/s is more than --max-rate allows (10/s); write at most 10/s, or raise --max-rate");
        insta::assert_snapshot!(refused("drift: {endpoints: ['https://evil.example']}", "--allow-endpoint https://good.example"), @"config.yaml:2: drift.endpoints[0]: `https://evil.example` is not permitted by --allow-endpoint; remove it, or add --allow-endpoint https://evil.example");
        let lowered = validate(
            "",
            "--max-rate vault=10/s,unheardOf=1/s,restarts=1/h --max-restarts 1",
        )
        .unwrap();
        let rate = |name: &str| lowered.pace.providers[&name.parse().unwrap()].to_string();
        assert_eq!(
            [
                rate("vault"),
                rate("unheardOf"),
                lowered.pace.restarts.to_string()
            ],
            ["10/s", "1/s", "1/h"]
        );
        assert_eq!(lowered.safety.max_restarts, 1);
        assert_eq!(
            rate("aws"),
            Pace::default().providers[&"aws".parse().unwrap()].to_string()
        );
    }

    /// A layer of the environment is held like a file.
    #[test]
    fn variables_are_held_to_the_ceilings() {
        let mut sources = file("select: [{}]");
        sources.environment.insert(
            "ESO_SYNC_DRIFT__NAMESPACED_STORES".to_owned(),
            "true".to_owned(),
        );
        sources.ceilings.allow = Some(vec![Capability::Drift, Capability::Sync]);
        insta::assert_snapshot!(load(&sources, &[]).unwrap_err(), @"environment variable ESO_SYNC_DRIFT__NAMESPACED_STORES: drift.namespacedStores: `true` is not permitted by --allow; write `false`, or add --allow namespaced-stores");
    }

    #[test]
    fn errors_name_the_key_its_line_and_the_flag() {
        let text = "sync:\n  generators: true\n  retries: 9\nrestart:\n  - match: references\n    cooldown: 1m\npace:\n  providers:\n    azure: 500/s\nsafety: {maxSyncs: 900}\ndrift:\n  endpoints:\n    - https://evil.example\n";
        insta::assert_snapshot!(validate(text, "--allow drift,sync,restart").unwrap_err(), @"
        config.yaml:3: sync.generators: `true` is not permitted by --allow; write `false`, or add --allow generators
        config.yaml:4: sync.retries: `9` is not permitted by --allow; write at most `2`, or add --allow retries
        config.yaml:7: restart[0].cooldown: `1m` is not permitted by --allow; write at least `10m`, or add --allow frequent-restarts
        config.yaml:10: pace.providers.azurekv: 500/s is more than --allow permits without another flag (100/s); write at most 100/s, or add --max-rate azurekv=500/s
        config.yaml:11: safety.maxSyncs: 900 is more than --allow permits without another flag (500); write at most 500, or add --max-syncs 900
        config.yaml:14: drift.endpoints[0]: `https://evil.example` is not permitted by --allow-endpoint; remove it, or add --allow-endpoint https://evil.example
        ");
    }

    #[test]
    fn policy_above_ceilings_is_invalid() {
        let ceilings = Ceilings {
            max_syncs: Some(100),
            allow: Some(Vec::new()),
            ..Ceilings::default()
        };
        let text = "select: [{}]\nsync:\n  when: failed\nsafety:\n  maxSyncs: 101\n";
        insta::assert_snapshot!(with_ceilings(text, ceilings.clone()).unwrap_err(), @"
        config.yaml:3: sync.when: `failed` is not permitted by --allow; write `never`, or add --allow sync
        config.yaml:5: safety.maxSyncs: 101 is more than --max-syncs allows (100); write at most 100, or raise --max-syncs
        ");
        insta::assert_snapshot!(with_ceilings("select: [{}]", ceilings).unwrap_err(), @"policy: sync.when: `drifted` is not permitted by --allow; write `never`, or add --allow sync");
    }

    #[test]
    fn unset_limits_are_lowered_to_the_ceilings() {
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
            max_syncs("select: [{}]\nsafety: {maxSyncs: 400}", None),
            400
        );
    }

    #[test]
    fn variable_above_a_ceiling_is_named() {
        let mut sources = file("select: [{}]\nsafety: {maxSyncs: 5}\n");
        sources
            .environment
            .insert("ESO_SYNC_SAFETY__MAX_SYNCS".to_owned(), "11".to_owned());
        sources.ceilings.max_syncs = Some(10);
        insta::assert_snapshot!(load(&sources, &[]).unwrap_err(), @"environment variable ESO_SYNC_SAFETY__MAX_SYNCS: safety.maxSyncs: 11 is more than --max-syncs allows (10); write at most 10, or raise --max-syncs");
    }

    #[test]
    fn policy_that_never_syncs_needs_no_capability() {
        let ceilings = Ceilings {
            allow: Some(Vec::new()),
            ..Ceilings::default()
        };
        assert!(with_ceilings("select: [{}]\nsync: {when: never}", ceilings).is_ok());
    }

    #[test]
    fn ceilings_are_not_policy_keys() {
        insta::assert_snapshot!(refused_below("maxSyncs: 5\nmax-restarts: 1\n"), @"
        config.yaml:2: maxSyncs: is an unknown key; move it to `safety.maxSyncs`
        config.yaml:3: max-restarts: is an unknown key; move it to `safety.maxRestarts`
        ");
    }
}

mod keys {
    use super::*;

    /// A policy with every key.
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
    fn serialised_policy_parses_to_the_same_policy() {
        let policy = loaded(FULL);
        assert_eq!(loaded(&serde_json::to_string(&policy).unwrap()), policy);
        assert_eq!(loaded(&shown(&policy)), policy);
    }

    #[test]
    fn closest_key_is_found() {
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
    fn when_defaults_to_drifted_only_with_the_drift_check() {
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
    fn keys_that_need_the_drift_check_are_invalid_without_it() {
        insta::assert_snapshot!(refused_below("drift: {enabled: false}\nsync: {when: drifted, onStillStale: refetch}"), @"
        config.yaml:3: sync.when: `drifted` needs the drift check, but `drift.enabled` is `false`; write `when: always`, or `drift: {enabled: true}` and --allow drift
        config.yaml:3: sync.onStillStale: `refetch` needs the drift check, but `drift.enabled` is `false`; write `onStillStale: report`, or `drift: {enabled: true}`
        ");
    }

    #[test]
    fn forbidden_drift_check_is_invalid_only_if_requested() {
        let policy = allowing("", &[Capability::Sync]).unwrap();
        assert!(!policy.drift.enabled && policy.sync.when == When::Always);
        assert!(
            allowing("", &[Capability::Sync, Capability::Drift])
                .unwrap()
                .drift
                .enabled
        );
        insta::assert_snapshot!(allowing("drift: {enabled: true}", &[Capability::Sync]).unwrap_err(), @"config.yaml:2: drift.enabled: `true` is not permitted by --allow; write `false`, or add --allow drift");
    }

    #[test]
    fn each_remedy_must_be_allowed() {
        let both = [Capability::Sync, Capability::Drift];
        let recreate = "sync: {onStillStale: recreate}";
        insta::assert_snapshot!(allowing(recreate, &both).unwrap_err(), @"config.yaml:2: sync.onStillStale: `recreate` is not permitted by --allow; write `report`, or add --allow refetch,recreate");
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
    fn restart_rule_must_select_workloads() {
        insta::assert_snapshot!(refused("  - require: proven\n  - {match: references, require: proven, kinds: []}\n"), @"
        config.yaml:4: restart[0]: selects no workloads; write `labelSelector`, `names` or `namespaces`, or `match: references` for all workloads that use a selected Secret
        config.yaml:5: restart[1]: covers no workload, because `kinds` is empty; add kinds, or remove `kinds`
        ");
    }

    #[test]
    fn restart_rule_with_unknown_values_is_invalid() {
        insta::assert_snapshot!(refused("  - {names: [a], kinds: [CronJob], when: sometimes, maxConcurrent: 0, exclude: [{}], wait: 5}\n"), @"
        config.yaml:4: restart[0].kinds[0]: `CronJob` is not a known value; write one of `DaemonSet`, `Deployment`, `Pod`, `ReplicaSet`, `Rollout`, `StatefulSet`
        config.yaml:4: restart[0].when: `sometimes` is not a known value; write one of `changed`, `unproven`, `always`
        config.yaml:4: restart[0].maxConcurrent: `0` is out of range or not a whole number; write a whole number of at least 1, without quotes
        config.yaml:4: restart[0].exclude[0]: is empty, which would exclude every workload; add a field, or remove the entry
        config.yaml:4: restart[0].wait: `5` is not a duration; write it like `30s`, `5m` or `1h30m`
        config.yaml:4: restart[0].require: `in-sync` needs the drift check, but `drift.enabled` is `false`; write `require: proven`, or `drift: {enabled: true}`
        ");
        insta::assert_snapshot!(refused("  - {names: [a]}\n"), @"config.yaml:4: restart[0].require: `in-sync` needs the drift check, but `drift.enabled` is `false`; write `require: proven`, or `drift: {enabled: true}`");
    }

    #[test]
    fn a_cooldown_of_zero_is_none() {
        let text = format!("{HEAD}restart: [{{names: [a], require: proven, cooldown: 0s}}]");
        assert_eq!(loaded(&text).restart[0].cooldown, std::time::Duration::ZERO);
    }

    #[test]
    fn restarts_must_be_allowed_and_within_the_ceiling() {
        let ceilings = Ceilings {
            allow: Some(vec![Capability::Sync]),
            max_restarts: Some(10),
            ..Ceilings::default()
        };
        let text = format!(
            "{HEAD}restart: [{{names: [a], require: proven}}]\nsafety: {{maxRestarts: 11}}\n"
        );
        insta::assert_snapshot!(with_ceilings(&text, ceilings.clone()).unwrap_err(), @"
        config.yaml:3: restart: is not permitted by --allow; write an empty list, or add --allow restart
        config.yaml:3: restart[0].require: `proven` is not permitted by --allow; write `in-sync`, or add --allow unverified-data
        config.yaml:4: safety.maxRestarts: 11 is more than --max-restarts allows (10); write at most 10, or raise --max-restarts
        ");
        let silent = with_ceilings(HEAD, ceilings).unwrap().policy;
        assert_eq!(silent.safety.max_restarts, 10);
    }
}
