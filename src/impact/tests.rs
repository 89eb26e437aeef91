use jiff::Timestamp;
use proptest::prelude::*;

use super::{
    document::{ImpactItem, ImpactSummary, ImpactUse, ImpactWorkload, UseCertainty},
    *,
};
use crate::{
    foreign::Foreign,
    inventory::State,
    reason::Reason,
    report::{API_VERSION, DocumentAction, DocumentStore, RestartAction, Run, view::View},
    workload::Kind,
};

fn run() -> Run {
    Run {
        id: String::new(),
        version: "",
        context: None,
        server: String::new(),
        policy_digest: None,
        started: Timestamp::UNIX_EPOCH,
        finished: Timestamp::UNIX_EPOCH,
        complete: true,
        exit_code: 0,
        report_url: None,
    }
}

/// An impact in which every text from outside is this one.
fn impact(hostile: &str) -> Impact {
    let text = || Foreign::from(hostile);
    let used = |certainty| ImpactUse {
        store: DocumentStore {
            kind: eso_model::StoreKind::SecretStore,
            name: text(),
        },
        provider: Some(hostile.to_owned()),
        key: Some(text()),
        version: Some(text()),
        search: None,
        certainty,
        why: None,
    };
    Impact {
        api_version: API_VERSION,
        kind: "Impact",
        run: run(),
        asked: Asked {
            keys: vec![text()],
            ..Asked::default()
        },
        similar: vec![text()],
        summary: ImpactSummary::default(),
        items: vec![ImpactItem {
            namespace: text(),
            name: text(),
            certainty: UseCertainty::Uses,
            uses: vec![used(UseCertainty::Uses), used(UseCertainty::MayUse)],
            templates: vec![format!("{hostile}2").into()],
            generators: vec![text()],
            secret: Some(text()),
            secret_keys: vec![text()],
            more_secret_keys: vec![MoreSecretKeys::Extract],
            state: Some(State::Ready),
            action: DocumentAction::Skip,
            reason: Reason::NotDue,
            message: text(),
            next_step: None,
            sync_window: None,
        }],
        workloads: vec![ImpactWorkload {
            namespace: text(),
            kind: Kind::Deployment,
            name: text(),
            secrets: vec![text()],
            action: RestartAction::Leave,
            reason: Reason::NoRule,
            message: text(),
            next_step: None,
            rule: None,
            wave: None,
        }],
        gaps: Vec::new(),
        warnings: vec![text()],
    }
}

/// The line with its quoted strings removed, by the rules of Graphviz: a backslash escapes the next character.
fn without_dot_strings(line: &str) -> String {
    let (mut rest, mut quoted, mut escaped) = (String::new(), false, false);
    for c in line.chars() {
        match (quoted, c) {
            _ if escaped => escaped = false,
            (true, '\\') => escaped = true,
            (_, '"') => quoted = !quoted,
            (true, _) => {}
            (false, c) => rest.push(c),
        }
    }
    assert!(!quoted, "{line}");
    rest
}

const HOSTILE: [&str; 8] = [
    "a\" ]; evil [label=\"",
    "\\",
    "\\\"]; evil",
    "</td><script>alert(1)</script>",
    "\"] --> evil[\"",
    "`**x**` %% ~~~ end\nclick n0 href \"javascript:x\"",
    "#quot;] evil",
    "\u{202e}\u{1b}[2J::add-mask::x",
];

/// Fails if a text from outside is anything else than the label of a node.
fn check(hostile: &str) {
    let dot = dot(&impact(hostile));
    for line in dot.lines() {
        let outside = without_dot_strings(line);
        let is_ours = |c: char| c.is_ascii_alphanumeric() || " []{}=;,->".contains(c);
        assert!(outside.chars().all(is_ours), "{hostile:?}: {line}");
        assert!(!outside.contains("evil"), "{hostile:?}: {line}");
    }
    let mermaid = mermaid(&impact(hostile));
    let mut lines = mermaid.lines();
    assert_eq!(lines.next(), Some("flowchart LR"));
    for line in lines {
        let quotes = line.matches('"').count();
        assert!(matches!(quotes, 0 | 2), "{hostile:?}: {line}");
        if let [before, label, after] = line.split('"').collect::<Vec<_>>().as_slice() {
            let is_number = before
                .trim_start_matches("  n")
                .trim_end_matches(['[', '(']);
            assert!(is_number.parse::<usize>().is_ok(), "{hostile:?}: {line}");
            assert!(
                after.chars().all(|c| "])".contains(c)),
                "{hostile:?}: {line}"
            );
            let plain = label.replace("<br/>", "");
            let is_harmless = |c: char| c.is_alphanumeric() || " ./:=,-#;".contains(c);
            assert!(plain.chars().all(is_harmless), "{hostile:?}: {line}");
        } else {
            let is_ours = |c: char| c.is_ascii_digit() || " n->.".contains(c);
            assert!(line.chars().all(is_ours), "{hostile:?}: {line}");
        }
    }
}

#[test]
fn names_do_not_leave_their_quotes_in_graphs() {
    HOSTILE.into_iter().for_each(check);
}

#[test]
fn names_do_not_control_the_terminal() {
    for hostile in HOSTILE {
        let impact = impact(hostile);
        for shown in [
            text(&impact, &View::default()),
            tree(&impact),
            dot(&impact),
            mermaid(&impact),
        ] {
            for line in shown.lines() {
                assert!(
                    !line.chars().any(cluster::escape::changes_the_screen),
                    "{line:?}"
                );
                assert!(!line.trim_start().starts_with("::"), "{line:?}");
            }
        }
    }
}

#[test]
fn a_tree_ends_although_templates_form_a_cycle() {
    let mut cycle = impact("a");
    let mut second = cycle.items[0].clone();
    second.name = "b".into();
    second.secret = Some("a2".into());
    second.uses.clear();
    second.templates = vec!["a".into()];
    cycle.items.push(second);
    let shown = tree(&cycle);
    assert!(shown.contains("(see above)"), "{shown}");
    assert_eq!(shown.matches("ExternalSecret a/b").count(), 1, "{shown}");
}

proptest! {
    #[test]
    fn no_text_leaves_its_quotes(text in any::<String>()) {
        // The letters of a keyword are allowed in a label.
        check(&text.replace("evil", ""));
    }
}
