//! Several ExternalSecrets that write one Secret.

use secret::RunKey;

use super::verdict::{Effect, Expected, Unverifiable, why};

/// What the Secret should hold when all of them have synced. `all_known` says that none of its ExternalSecrets is missing here
/// because its data could not be computed: otherwise keys beyond these may be its own.
///
/// Where two of them write different values to one key, the last to sync wins; where two write the Secret whole, or one deletes
/// it, they fight: neither can be told.
pub fn together(
    parts: impl IntoIterator<Item = Expected>,
    all_known: bool,
    key: &RunKey,
) -> Result<Expected, Unverifiable> {
    let mut parts = parts
        .into_iter()
        .filter(|part| part.effect != Effect::Nothing);
    let Some(mut whole) = parts.next() else {
        return Err(Unverifiable::new(why::SHARED, "nobody writes it"));
    };
    let mut retained = whole.effect == Effect::Keep;
    for part in parts {
        if part.effect == Effect::Delete || whole.effect == Effect::Delete {
            return Err(Unverifiable::new(why::SHARED, "one of them deletes it"));
        }
        if part.exact && whole.exact {
            return Err(Unverifiable::new(why::SHARED, "two of them write it whole"));
        }
        retained |= part.effect == Effect::Keep;
        whole.exact |= part.exact;
        whole.immutable |= part.immutable;
        whole.effect = either(whole.effect, part.effect);
        for (name, value) in part.data {
            let fingerprint = value.fingerprint(key);
            let before = whole.data.insert(name, value);
            if before.is_some_and(|before| before.fingerprint(key) != fingerprint) {
                return Err(Unverifiable::new(why::SHARED, "two of them write one key"));
            }
        }
    }
    // What one of them left as it was is not known.
    whole.exact &= all_known && !retained;
    Ok(whole)
}

const fn either(one: Effect, other: Effect) -> Effect {
    match (one, other) {
        (Effect::Write, _) | (_, Effect::Write) => Effect::Write,
        (Effect::WriteIfThere, _) | (_, Effect::WriteIfThere) => Effect::WriteIfThere,
        _ => one,
    }
}

#[cfg(test)]
mod tests {
    use secret::Value;

    use super::*;

    fn part(keys: &[(&str, &str)], exact: bool, effect: Effect) -> Expected {
        let data = keys
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::from(*value)));
        Expected {
            data: data.collect(),
            exact,
            effect,
            immutable: false,
        }
    }

    fn key() -> RunKey {
        RunKey::from_bytes([1; 32])
    }

    fn why_not(parts: [Expected; 2]) -> String {
        together(parts, true, &key()).err().unwrap().detail
    }

    #[test]
    fn an_owner_and_one_that_merges_make_one_secret() {
        let owner = || part(&[("a", "1"), ("b", "2")], true, Effect::Write);
        let merge = || part(&[("b", "2"), ("c", "3")], false, Effect::WriteIfThere);
        let whole = together([merge(), owner()], true, &key()).unwrap();
        assert_eq!(whole.data.len(), 3);
        assert!(whole.exact && whole.effect == Effect::Write);
        assert!(!together([merge(), owner()], false, &key()).unwrap().exact);
        let kept = part(&[], false, Effect::Keep);
        assert!(!together([owner(), kept], true, &key()).unwrap().exact);
    }

    #[test]
    fn those_that_fight_cannot_be_told() {
        let merge = |value| part(&[("a", value)], false, Effect::WriteIfThere);
        let owner = |effect| part(&[], true, effect);
        assert_eq!(
            why_not([merge("1"), merge("2")]),
            "two of them write one key"
        );
        assert_eq!(
            why_not([owner(Effect::Write), owner(Effect::Write)]),
            "two of them write it whole"
        );
        assert_eq!(
            why_not([merge("1"), owner(Effect::Delete)]),
            "one of them deletes it"
        );
        assert!(together([part(&[], false, Effect::Nothing)], true, &key()).is_err());
    }
}
