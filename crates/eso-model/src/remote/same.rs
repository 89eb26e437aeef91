//! Whether a key that was read is the one that an event names. Names match generously, so a match may be another key.

use std::collections::BTreeSet;

use super::{
    key::RemoteKey,
    place::Place,
    realm::{Realm, is_number},
};

/// Whether two names are those of the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sameness {
    Same,
    /// They may be, but one says less than the other.
    Unsure,
    Other,
}

/// Compares a key with one that was read, by the ARN, URL or resource name in its provider's answer. `store` is the place of the
/// store that was read.
pub fn compare(key: &RemoteKey, resource: &str, store: &Realm) -> Sameness {
    let full = RemoteKey::read(resource).unwrap_or_default().into_iter();
    let mut full = full.filter_map(|key| Some((key.provider?, key.realm, key.names)));
    let Some((provider, realm, names)) = full.next() else {
        return Sameness::Unsure;
    };
    if key.provider.as_ref().is_some_and(|own| *own != provider) {
        return Sameness::Unsure;
    }
    let canonical = |names: &BTreeSet<String>| -> BTreeSet<String> {
        let names = names.iter();
        names
            .map(|name| Place::canonical(&provider, name))
            .collect()
    };
    // One of several names may be that of another key.
    if !canonical(&key.names).is_subset(&canonical(&names)) {
        return Sameness::Unsure;
    }
    let accounts = [&realm.account, &store.account];
    let account = account(key.realm.account.as_deref(), &accounts);
    let region = part(key.realm.region.as_deref(), realm.region.as_deref());
    let host = part(key.realm.host.as_deref(), realm.host.as_deref());
    account.max(region).max(host)
}

fn part(own: Option<&str>, read: Option<&str>) -> Sameness {
    match (own, read) {
        (Some(own), Some(read)) if own != read => Sameness::Other,
        (Some(_), Some(_)) | (None, _) => Sameness::Same,
        (Some(_), None) => Sameness::Unsure,
    }
}

/// A project of Google has an id and a number. Which number belongs to which id is not known.
fn account(own: Option<&str>, known: &[&Option<String>]) -> Sameness {
    let Some(own) = own else {
        return Sameness::Same;
    };
    let known = || known.iter().copied().flatten();
    if known().any(|one| one == own) {
        Sameness::Same
    } else if known().any(|one| is_number(one) == is_number(own)) {
        Sameness::Other
    } else {
        Sameness::Unsure
    }
}
