//! Combines several ExternalSecrets that write the same Secret.

use secret::RunKey;

use super::verdict::{Effect, Expected, Unverifiable, why};

/// Computes what the Secret should hold after all parts have synced. `all_known` is false if the data of one of the
/// Secret's ExternalSecrets could not be computed: the Secret may then contain further keys.
///
/// The result is unverifiable if two parts write different values to one key (the last sync wins), if two write the whole
/// Secret, or if one deletes it.
pub fn together(
    parts: impl IntoIterator<Item = Expected>,
    all_known: bool,
    key: &RunKey,
) -> Result<Expected, Unverifiable> {
    let mut parts = parts
        .into_iter()
        .filter(|part| part.effect != Effect::Nothing);
    let Some(mut whole) = parts.next() else {
        return Err(Unverifiable::new(
            why::SHARED,
            "no ExternalSecret writes it",
        ));
    };
    let mut retained = whole.effect == Effect::Keep;
    for part in parts {
        if part.effect == Effect::Delete || whole.effect == Effect::Delete {
            return Err(Unverifiable::new(
                why::SHARED,
                "one of several ExternalSecrets deletes it",
            ));
        }
        if part.exact && whole.exact {
            return Err(Unverifiable::new(
                why::SHARED,
                "two ExternalSecrets write the whole Secret",
            ));
        }
        retained |= part.effect == Effect::Keep;
        whole.exact |= part.exact;
        whole.immutable |= part.immutable;
        whole.effect = either(whole.effect, part.effect);
        for (name, value) in part.data {
            let fingerprint = value.fingerprint(key);
            let before = whole.data.insert(name, value);
            if before.is_some_and(|before| before.fingerprint(key) != fingerprint) {
                return Err(Unverifiable::new(
                    why::SHARED,
                    "two ExternalSecrets write the same key",
                ));
            }
        }
    }
    // The keys that a part left unchanged are unknown.
    whole.exact &= all_known && !retained;
    Ok(whole)
}

const fn either(one: Effect, other: Effect) -> Effect {
    match (one, other) {
        (Effect::Write, _) | (_, Effect::Write) => Effect::Write,
        (Effect::WriteIfExists, _) | (_, Effect::WriteIfExists) => Effect::WriteIfExists,
        _ => one,
    }
}

#[cfg(test)]
mod tests {
    use secret::Value;

    use super::*;
    use crate::expected::SecretType;

    fn part(keys: &[(&str, &str)], exact: bool, effect: Effect) -> Expected {
        let data = keys
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::from(*value)));
        Expected {
            data: data.collect(),
            exact,
            effect,
            immutable: false,
            secret_type: SecretType::default(),
        }
    }

    fn key() -> RunKey {
        RunKey::from_bytes([1; 32])
    }

    fn why_not(parts: [Expected; 2]) -> String {
        together(parts, true, &key()).err().unwrap().detail
    }

    #[test]
    fn owner_and_merge_are_combined() {
        let owner = || part(&[("a", "1"), ("b", "2")], true, Effect::Write);
        let merge = || part(&[("b", "2"), ("c", "3")], false, Effect::WriteIfExists);
        let whole = together([merge(), owner()], true, &key()).unwrap();
        assert_eq!(whole.data.len(), 3);
        assert!(whole.exact && whole.effect == Effect::Write);
        assert!(!together([merge(), owner()], false, &key()).unwrap().exact);
        let kept = part(&[], false, Effect::Keep);
        assert!(!together([owner(), kept], true, &key()).unwrap().exact);
    }

    #[test]
    fn conflicting_writers_are_unverifiable() {
        let merge = |value| part(&[("a", value)], false, Effect::WriteIfExists);
        let owner = |effect| part(&[], true, effect);
        assert_eq!(
            why_not([merge("1"), merge("2")]),
            "two ExternalSecrets write the same key"
        );
        assert_eq!(
            why_not([owner(Effect::Write), owner(Effect::Write)]),
            "two ExternalSecrets write the whole Secret"
        );
        assert_eq!(
            why_not([merge("1"), owner(Effect::Delete)]),
            "one of several ExternalSecrets deletes it"
        );
        assert!(together([part(&[], false, Effect::Nothing)], true, &key()).is_err());
    }
}
