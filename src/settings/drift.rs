//! Validates the keys that depend on the drift check, together and against the ceilings.

use figment::{Figment, providers::Serialized};

use super::{
    Layer,
    problem::{Problem, Source},
};
use crate::policy::{Capability, Ceilings, OnStillStale, When};

/// Fills in defaults that depend on other keys, and reports conflicting keys.
pub(super) fn settle(
    figment: Figment,
    layers: &[Layer],
    ceilings: &Ceilings,
    problems: &mut Vec<Problem>,
) -> Figment {
    let place = |keys: &[&str]| layers.iter().rev().find_map(|layer| layer.place(keys));
    let asked = place(&["drift", "enabled"]);
    let mut enabled = figment.extract_inner("drift.enabled").unwrap_or(true);
    let mut figment = figment;
    if enabled && !allows(ceilings, Capability::Drift) {
        if let Some(source) = asked {
            problems.push(Problem {
                source,
                key: "drift.enabled".to_owned(),
                what: "`true` is not permitted by --allow".to_owned(),
                hint: "write `enabled: false`, or add --allow drift".to_owned(),
            });
        } else {
            // A policy that does not set the key gets the permitted value.
            enabled = false;
            figment = figment.merge(Serialized::default("drift.enabled", false));
        }
    }
    figment = when(figment, enabled, place(&["sync", "when"]), problems);
    still_stale(
        &figment,
        enabled,
        ceilings,
        place(&["sync", "onStillStale"]),
        problems,
    );
    figment
}

fn allows(ceilings: &Ceilings, capability: Capability) -> bool {
    ceilings
        .allow
        .as_ref()
        .is_none_or(|allowed| allowed.contains(&capability))
}

/// Without a drift check, `sync.when` defaults to `always`.
fn when(
    figment: Figment,
    enabled: bool,
    said: Option<Source>,
    problems: &mut Vec<Problem>,
) -> Figment {
    let drifted = figment
        .extract_inner::<When>("sync.when")
        .is_ok_and(|when| when == When::Drifted);
    if enabled || !drifted {
        return figment;
    }
    if let Some(source) = said {
        problems.push(Problem {
            source,
            key: "sync.when".to_owned(),
            what: "`drifted` needs the drift check, but `drift.enabled` is `false`".to_owned(),
            hint: "write `when: always`, or `drift: {enabled: true}` and --allow drift".to_owned(),
        });
    }
    figment.merge(Serialized::default("sync.when", When::Always))
}

fn still_stale(
    figment: &Figment,
    enabled: bool,
    ceilings: &Ceilings,
    said: Option<Source>,
    problems: &mut Vec<Problem>,
) {
    let Ok(asked) = figment.extract_inner::<OnStillStale>("sync.onStillStale") else {
        return;
    };
    let Some(source) = said.filter(|_| asked != OnStillStale::Report) else {
        return;
    };
    let word = asked.into_str();
    let mut problem = |what: String, hint: String| {
        problems.push(Problem {
            source: source.clone(),
            key: "sync.onStillStale".to_owned(),
            what,
            hint,
        });
    };
    if !enabled {
        problem(
            format!("`{word}` needs the drift check, but `drift.enabled` is `false`"),
            "write `onStillStale: report`, or `drift: {enabled: true}`".to_owned(),
        );
    }
    // `recreate` runs `refetch` first.
    let needed: &[(Capability, &str)] = match asked {
        OnStillStale::Report => &[],
        OnStillStale::Refetch => &[(Capability::Refetch, "refetch")],
        OnStillStale::Recreate => &[
            (Capability::Refetch, "refetch"),
            (Capability::Recreate, "recreate"),
        ],
    };
    let lacking: Vec<&str> = needed
        .iter()
        .filter(|(capability, _)| !allows(ceilings, *capability))
        .map(|(_, name)| *name)
        .collect();
    if !lacking.is_empty() {
        problem(
            format!("`{word}` is not permitted by --allow"),
            format!(
                "write `onStillStale: report`, or add --allow {}",
                lacking.join(",")
            ),
        );
    }
}
