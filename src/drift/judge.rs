//! Compares the expected data of a Secret with its actual data and returns verdicts. Pure: values go in, and only those key names that may be shown come out.
//!
//! If the expected data cannot be computed any more (the remote secret is gone, a template fails), an existing Secret is `stale`.
//! The finding then also says that a sync does not fix it.

use std::{collections::BTreeSet, fmt::Write as _};

pub use super::{refusal::Author, target::Target};
use super::{
    refusal::{Refusal, ownership, refusal},
    target::Actual,
};
use eso_model::expected::{
    CreationPolicy, DeletionPolicy, Difference, Effect, Expected, KeyDifference, NotComputable,
    Unverifiable, WouldFail, compare, together, why,
};
use secret::RunKey;

use crate::{
    edits::Writer,
    finding::{DifferingKey, Finding, Verdict},
    key_names::Names,
    reason::Reason,
};

/// The reason if the operator does not write the Secret.
pub const NOT_WRITTEN: &str = "not-written";

/// The reason if the Secret could not be read.
pub const SECRET_UNREADABLE: &str = "secret-unreadable";

/// One ExternalSecret that writes a Secret, with the data that it would write.
pub struct Member {
    pub by: Author,
    pub computed: Result<Expected, NotComputable>,
}

/// The part of the expected data that one of several ExternalSecrets writes.
struct Part {
    keys: BTreeSet<String>,
    exact: bool,
    effect: Effect,
    /// The keys that it wrote before and does not write any more.
    removed: Vec<KeyDifference>,
    /// The reason why the write would be refused, with what the ExternalSecret alone would change.
    refused: Option<(Refusal, Vec<KeyDifference>)>,
}

/// What several ExternalSecrets write together.
struct Whole {
    keys: BTreeSet<String>,
    differences: Vec<KeyDifference>,
    immutable: bool,
}

/// The differences of a Secret, and how the ExternalSecret writes it.
struct Comparison {
    differences: Vec<KeyDifference>,
    exact: bool,
    effect: Effect,
    immutable: bool,
    refusal: Option<Refusal>,
}

/// Returns one finding for each ExternalSecret that writes the Secret, in order. `other_writers` are other writers of which only the
/// name is known.
pub fn judge(
    members: Vec<Member>,
    other_writers: &[String],
    target: &Target,
    (key, names): (&RunKey, &Names),
) -> Vec<Finding> {
    if members.len() > 1 || !other_writers.is_empty() {
        return several(members, other_writers, target, (key, names));
    }
    members
        .into_iter()
        .map(|Member { by, computed }| match computed {
            Err(error) => without_data(&by, &error, target),
            Ok(expected) => {
                let comparison = Comparison {
                    differences: differences(&by, &expected, target, key),
                    exact: expected.exact,
                    effect: expected.effect,
                    immutable: expected.immutable,
                    refusal: refusal(&by, &expected, target),
                };
                compared(&by, comparison, target, names)
            }
        })
        .collect()
}

fn differences(
    by: &Author,
    expected: &Expected,
    target: &Target,
    key: &RunKey,
) -> Vec<KeyDifference> {
    let Target::There(actual) = target else {
        return Vec::new();
    };
    let mut differences = compare(expected, &actual.data, key);
    if !expected.exact {
        differences.extend(removed(by, expected, actual));
        differences.sort_by(|one, other| one.name.cmp(&other.name));
    }
    differences
}

/// The keys that the ExternalSecret wrote before, and that the operator will remove because it does not write them any more.
fn removed<'a>(
    by: &Author,
    expected: &'a Expected,
    actual: &'a Actual,
) -> impl Iterator<Item = KeyDifference> + 'a {
    let writes = matches!(expected.effect, Effect::Write | Effect::WriteIfExists);
    let own: BTreeSet<&str> = actual.keys_of(&by.name).filter(|_| writes).collect();
    let held = actual.data.keys().filter(move |key| own.contains(key));
    held.filter(|key| !expected.data.contains_key(*key))
        .map(|name| KeyDifference {
            name: name.to_owned(),
            difference: Difference::Extra,
        })
}

fn several(
    members: Vec<Member>,
    other_writers: &[String],
    target: &Target,
    (key, names): (&RunKey, &Names),
) -> Vec<Finding> {
    let known =
        |member: &&Member| member.computed.is_ok() || member.by.creation == CreationPolicy::None;
    let unknown: Vec<String> = members
        .iter()
        .filter(|member| !known(member))
        .map(|member| member.by.name.clone())
        .chain(other_writers.iter().cloned())
        .collect();
    let mut parts = Vec::new();
    let mut authors: Vec<(Author, Result<Part, NotComputable>)> = Vec::new();
    for Member { by, computed } in members {
        let part = computed.map(|mut expected| {
            let mut part = Part {
                keys: expected.data.keys().cloned().collect(),
                exact: expected.exact,
                effect: expected.effect,
                removed: match target {
                    Target::There(actual) if !expected.exact => {
                        removed(&by, &expected, actual).collect()
                    }
                    Target::There(_) | Target::Absent | Target::Unread(_) => Vec::new(),
                },
                refused: None,
            };
            if let Some(refusal) = refusal(&by, &expected, target) {
                // It writes nothing, so the others alone decide what the Secret holds.
                expected.exact = false;
                part.refused = Some((refusal, differences(&by, &expected, target, key)));
            } else {
                parts.push(expected);
            }
            part
        });
        authors.push((by, part));
    }
    let whole = together(parts, unknown.is_empty(), key).map(|whole| Whole {
        differences: match target {
            Target::There(actual) => compare(&whole, &actual.data, key),
            Target::Absent | Target::Unread(_) => Vec::new(),
        },
        immutable: whole.immutable,
        keys: whole.data.into_keys().collect(),
    });
    authors
        .into_iter()
        .map(|(by, part)| match part {
            Err(error) => without_data(&by, &error, target),
            Ok(part) => one_of_several((&by, part), &whole, &unknown, target, names),
        })
        .collect()
}

/// `whole` is the reason if it is unknown what the Secret should hold.
fn one_of_several(
    (by, part): (&Author, Part),
    whole: &Result<Whole, Unverifiable>,
    unknown: &[String],
    target: &Target,
    names: &Names,
) -> Finding {
    let mut comparison = Comparison {
        differences: Vec::new(),
        exact: part.exact,
        effect: part.effect,
        immutable: false,
        refusal: None,
    };
    if matches!(part.effect, Effect::Nothing | Effect::Keep) {
        return compared(by, comparison, target, names);
    }
    if let Some((refusal, differences)) = part.refused {
        comparison.differences = differences;
        comparison.refusal = Some(refusal);
        return compared(by, comparison, target, names);
    }
    let whole = match whole {
        Ok(whole) => whole,
        Err(shared) => return Finding::unverifiable(shared.clone()),
    };
    let own = |it: &&KeyDifference| {
        part.keys.contains(&it.name) || (part.exact && it.difference == Difference::Extra)
    };
    comparison.differences = whole.differences.iter().filter(own).cloned().collect();
    if !whole
        .differences
        .iter()
        .any(|it| it.difference == Difference::Extra)
    {
        // Otherwise the ExternalSecret that writes the whole Secret removes them.
        let removed = part.removed.into_iter();
        let gone = removed.filter(|it| !whole.keys.contains(&it.name));
        comparison.differences.extend(gone);
    }
    comparison.immutable = whole.immutable;
    let finding = compared(by, comparison, target, names);
    if finding.verdict.is_drift() && !unknown.is_empty() {
        let detail = format!(
            "{} may have written the keys that differ",
            unknown.join(", ")
        );
        return Finding::unverifiable(Unverifiable::new(why::SHARED, detail));
    }
    finding
}

/// The expected data is unknown. The operator checks the owner of the Secret whatever the data is.
fn without_data(by: &Author, error: &NotComputable, target: &Target) -> Finding {
    let finding = not_computed(by, error, target);
    let owned = match target {
        Target::There(actual) if finding.beyond_sync.is_none() => ownership(by, actual),
        Target::There(_) | Target::Absent | Target::Unread(_) => None,
    };
    refused(finding, owned)
}

/// The expected data is unknown, but a missing or edited Secret is still detected.
fn not_computed(by: &Author, error: &NotComputable, target: &Target) -> Finding {
    let creates = matches!(
        by.creation,
        CreationPolicy::Owner | CreationPolicy::Orphan | CreationPolicy::CreateOrMerge
    );
    // The target is not a Secret, so a Secret that does not exist is not missing.
    if let NotComputable::Unverifiable(unknown) = error
        && unknown.reason == why::MANIFEST
    {
        return Finding::unverifiable(unknown.clone());
    }
    let mut finding = match target {
        Target::Unread(why) => return unread(why),
        Target::Absent if creates && by.deletion == DeletionPolicy::Retain => {
            Finding::of(Verdict::Missing, "the Secret does not exist")
        }
        Target::There(actual) if is_edited(actual, by.creation.is_exclusive(), &[]) => {
            Finding::of(Verdict::Tampered, edited_by(actual.writers.first()))
        }
        Target::There(_) | Target::Absent => match error {
            NotComputable::Unverifiable(why) => return Finding::unverifiable(why.clone()),
            NotComputable::WouldFail(_) if matches!(target, Target::Absent) => {
                Finding::of(Verdict::Missing, "the Secret does not exist")
            }
            NotComputable::WouldFail(_) => Finding::of(
                Verdict::Stale,
                "the Secret cannot be computed from the provider's current data",
            ),
        },
    };
    match error {
        NotComputable::Unverifiable(why) => {
            let _ = write!(finding.message, "; the expected data is unknown: {why}");
        }
        NotComputable::WouldFail(fails) => {
            finding.beyond_sync = Some(Reason::WouldFail);
            finding.cause = Reason::of_failure(fails.failure);
            let _ = write!(
                finding.message,
                "; the operator's next sync would fail: {}",
                described(fails)
            );
        }
    }
    finding
}

fn described(fails: &WouldFail) -> String {
    if fails.detail.is_empty() {
        fails.failure.into_str().to_owned()
    } else {
        fails.to_string()
    }
}

fn unread(why: &str) -> Finding {
    Finding {
        permission: Some("get and list on secrets".to_owned()),
        ..Finding::unverifiable(Unverifiable::new(SECRET_UNREADABLE, why))
    }
}

fn compared(by: &Author, comparison: Comparison, target: &Target, names: &Names) -> Finding {
    let actual = match (target, comparison.effect) {
        (_, Effect::Nothing) => {
            return Finding::unverifiable(Unverifiable::new(NOT_WRITTEN, "creationPolicy: None"));
        }
        (Target::Unread(why), _) => return unread(why),
        (Target::Absent, effect) => return refused(absent(effect), comparison.refusal),
        (Target::There(actual), Effect::Keep) => {
            return if actual.data.is_empty() {
                Finding::of(Verdict::InSync, "")
            } else {
                Finding {
                    beyond_sync: Some(Reason::Retained),
                    ..Finding::of(
                        Verdict::Stale,
                        "the provider has no data for it any more, and `deletionPolicy: Retain` keeps the old data",
                    )
                }
            };
        }
        (Target::There(actual), Effect::Delete) => {
            let keys = actual.data.keys().map(|name| DifferingKey {
                name: names.of(name),
                difference: Difference::Extra,
            });
            return Finding {
                keys: keys.collect(),
                ..Finding::of(
                    Verdict::Stale,
                    "the provider has no data for it any more, so the operator will delete the Secret",
                )
            };
        }
        (Target::There(actual), Effect::Write | Effect::WriteIfExists) => actual,
    };
    if comparison.differences.is_empty() {
        return refused(Finding::of(Verdict::InSync, ""), comparison.refusal);
    }
    let mut finding = differing(by, &comparison, actual);
    if comparison.immutable || actual.immutable {
        finding.beyond_sync = Some(Reason::Immutable);
        finding
            .message
            .push_str("; the Secret is immutable, so the operator does not change it");
    }
    let keys = comparison.differences.iter().map(|key| DifferingKey {
        name: names.of(&key.name),
        difference: key.difference,
    });
    finding.keys = keys.collect();
    refused(finding, comparison.refusal)
}

/// Adds the reason why a sync would be refused.
fn refused(finding: Finding, refusal: Option<Refusal>) -> Finding {
    let Some(Refusal { cause, text }) = refusal else {
        return finding;
    };
    let separator = if finding.message.is_empty() { "" } else { "; " };
    Finding {
        beyond_sync: Some(Reason::WouldFail),
        cause: Some(cause),
        message: format!("{}{separator}{text}", finding.message),
        ..finding
    }
}

fn absent(effect: Effect) -> Finding {
    let missing = Finding::of(Verdict::Missing, "the Secret does not exist");
    match effect {
        Effect::Write | Effect::Nothing => missing,
        Effect::WriteIfExists => Finding {
            beyond_sync: Some(Reason::SecretMissing),
            message: "the Secret does not exist, and `creationPolicy: Merge` does not create it"
                .to_owned(),
            ..missing
        },
        Effect::Keep => Finding {
            beyond_sync: Some(Reason::Retained),
            message: "the Secret does not exist, and the provider has no data for it".to_owned(),
            ..missing
        },
        Effect::Delete => Finding::of(Verdict::InSync, ""),
    }
}

fn differing(by: &Author, comparison: &Comparison, actual: &Actual) -> Finding {
    let names: Vec<&str> = comparison
        .differences
        .iter()
        .map(|difference| difference.name.as_str())
        .collect();
    if is_edited(actual, comparison.exact, &names) {
        let writer = writer_of(actual, &names).or_else(|| actual.writers.first());
        return Finding::of(Verdict::Tampered, edited_by(writer));
    }
    let only_missing = comparison
        .differences
        .iter()
        .all(|difference| difference.difference == Difference::Missing);
    let since = if by.refreshed.is_some() {
        "the provider (or the ExternalSecret) changed since the last sync"
    } else {
        "never synced"
    };
    if only_missing {
        Finding::of(Verdict::Partial, format!("keys are missing: {since}"))
    } else {
        Finding::of(Verdict::Stale, since)
    }
}

/// True if the Secret was edited. If other writers may add keys, only writers of the differing keys count.
fn is_edited(actual: &Actual, exact: bool, names: &[&str]) -> bool {
    actual.edited == Some(true) && (exact || writer_of(actual, names).is_some())
}

fn writer_of<'a>(actual: &'a Actual, names: &[&str]) -> Option<&'a Writer> {
    actual
        .writers
        .iter()
        .find(|writer| writer.keys.iter().any(|key| names.contains(&key.as_str())))
}

fn edited_by(writer: Option<&Writer>) -> String {
    let mut text = "edited in the cluster".to_owned();
    if let Some(writer) = writer {
        let _ = write!(text, " by {}", writer.manager);
        if let Some(time) = writer.time {
            let _ = write!(text, " at {time}");
        }
    }
    text
}

#[cfg(test)]
mod tests;
