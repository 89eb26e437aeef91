//! The documentation explains every reason.
#![cfg(test)]

use repository::Reason;
use strum::IntoEnumIterator as _;

const PAGE: &str = include_str!("../../../docs/publish-files.md");

#[test]
fn every_reason_is_documented() {
    for reason in Reason::iter() {
        // The words of undecrypted files are those of their reader.
        if !matches!(reason, Reason::NotDecrypted(_)) {
            let row = format!("| `{}` |", reason.word());
            assert!(
                PAGE.contains(&row),
                "docs/publish-files.md has no row {row}"
            );
        }
    }
}
