//! What the labels and dates of versions say, which moto does not show in all cases.

use publish::{Mark, MarkKey};

use super::*;

fn marks() -> MarkKey {
    MarkKey::from_bytes([3; 32])
}

/// Some mark for each letter.
fn mark(letter: u8) -> Mark {
    format!("{letter:032x}").parse().unwrap()
}

fn id(letter: u8, replaced: Option<&str>) -> String {
    marks().version_id(mark(letter), replaced).to_string()
}

/// A version that was created at this second.
fn entry(id: &str, second: i64, labels: &[&str]) -> SecretVersionsListEntry {
    SecretVersionsListEntry::builder()
        .version_id(id)
        .created_date(DateTime::from_secs(second))
        .set_version_stages(Some(
            labels.iter().map(|label| (*label).to_owned()).collect(),
        ))
        .build()
}

#[test]
fn earlier_marks_are_those_before_the_last_published_version() {
    let (a, b) = (id(1, None), id(2, Some("a")));
    let versions = [entry(&b, 20, &[CURRENT, OURS]), entry(&a, 10, &[PREVIOUS])];
    let history = history(Some(&b), &versions);
    assert_eq!(history.earlier, [mark(1)]);
    assert!(!history.went_back);
    assert_eq!(history.writes.len(), 2);
    assert_eq!(history.versions.len(), 1);
}

/// Somebody else wrote after us, so our value is the last published one, not an earlier one.
#[test]
fn value_before_a_foreign_version_is_not_an_earlier_one() {
    let a = id(1, None);
    let versions = [entry("foreign", 20, &[CURRENT]), entry(&a, 10, &[PREVIOUS])];
    assert_eq!(history(Some("foreign"), &versions).earlier, []);
}

/// Killed between the version and its label.
#[test]
fn version_that_never_was_current_is_neither_earlier_nor_a_step_back() {
    let (a, b) = (id(1, None), id(2, Some("a")));
    let versions = [entry(&b, 20, &[OURS]), entry(&a, 10, &[CURRENT])];
    let history = history(Some(&a), &versions);
    assert!(!history.went_back);
    assert_eq!(history.earlier, []);
}

#[test]
fn label_that_was_moved_back_by_hand_is_noticed() {
    let (a, b) = (id(1, None), id(2, Some("a")));
    let versions = [entry(&b, 20, &[PREVIOUS, OURS]), entry(&a, 10, &[CURRENT])];
    let history = history(Some(&a), &versions);
    assert!(history.went_back);
    // The later value is the published one.
    assert_eq!(history.earlier, [mark(1)]);
}

fn facts(change: impl Fn(&mut Facts<'_>)) -> Held {
    let current = id(1, None);
    let stages = HashMap::from([(current, vec![CURRENT.to_owned()])]);
    let mut facts = Facts {
        tags: &[],
        stages: Some(&stages),
        is_rotated: false,
        service: None,
        primary_region: None,
        deleted: None,
    };
    change(&mut facts);
    facts.held("owner", "eu-west-1")
}

#[test]
fn rotated_managed_and_replicated_secrets_are_refused() {
    assert_eq!(facts(|_| {}).refusal, None);
    let refusal = |change: &dyn Fn(&mut Facts<'_>)| facts(change).refusal;
    assert_eq!(
        refusal(&|facts| facts.is_rotated = true),
        Some(Refusal::Rotated)
    );
    assert_eq!(
        refusal(&|facts| facts.service = Some("rds")),
        Some(Refusal::Managed)
    );
    assert_eq!(
        refusal(&|facts| facts.primary_region = Some("us-east-1")),
        Some(Refusal::Replica)
    );
    assert_eq!(
        refusal(&|facts| facts.primary_region = Some("eu-west-1")),
        None
    );
}

#[test]
fn scheduled_deletion_is_not_absence() {
    let until = DateTime::from_secs(1_800_000_000);
    let held = {
        let stages = HashMap::new();
        let facts = Facts {
            tags: &[],
            stages: Some(&stages),
            is_rotated: false,
            service: None,
            primary_region: None,
            deleted: Some(&until),
        };
        facts.held("owner", "eu-west-1")
    };
    assert!(matches!(
        held.presence,
        Presence::Retired { until: Some(_) }
    ));
    assert_eq!(facts(|facts| facts.stages = None).presence, Presence::Empty);
}

#[test]
fn mark_is_that_of_the_current_version_only() {
    assert_eq!(facts(|_| {}).mark, Some(mark(1)));
    let current = id(1, None);
    let of_tag = |version: &str| {
        let bound = Bound {
            mark: mark(9),
            version: version.to_owned(),
        };
        let tags = [tag(MARK, &bound.to_string())];
        let stages = HashMap::from([(current.clone(), vec![CURRENT.to_owned()])]);
        let facts = Facts {
            tags: &tags,
            stages: Some(&stages),
            is_rotated: false,
            service: None,
            primary_region: None,
            deleted: None,
        };
        facts.held("owner", "eu-west-1").mark
    };
    assert_eq!(of_tag(&current), Some(mark(9)), "a renewed mark");
    assert_eq!(of_tag("another version"), Some(mark(1)));
}

#[test]
fn value_that_is_not_text_is_written_as_bytes() {
    assert!(matches!(
        payload(&secret::Value::from("text")),
        (Some(_), None)
    ));
    assert!(matches!(
        payload(&secret::Value::new(vec![0xff, 0])),
        (None, Some(_))
    ));
}
