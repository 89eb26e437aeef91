//! Decides whether a Secret may be deleted, so that the operator creates it again. Pure.
//!
//! A deletion loses everything in the Secret that the operator does not write again. So it must be the Secret that was compared,
//! and only the operator may have written its data, for this ExternalSecret.

use cluster::wire;
use eso_model::digest::Algorithm;
use serde_json::Value as Json;

use crate::{finding::Judged, plan::Kept};

/// The prefix of the operator's field managers.
const OPERATOR: &str = "externalsecrets.external-secrets.io/";

/// The operator's field manager before v0.11.
const OLD_OPERATOR: &str = "external-secrets";

/// Ok if this Secret of the ExternalSecret with this name and uid may be deleted.
pub(super) fn may_delete(
    secret: &wire::Secret,
    judged: Option<&Judged>,
    (name, uid): (&str, &str),
) -> Result<(), Kept> {
    let meta = &secret.metadata;
    if meta.deletion_timestamp.is_some() || !judged.is_some_and(|judged| judged.is(secret)) {
        return Err(Kept::ChangedSinceJudged);
    }
    let is_owner = |owner: &&wire::OwnerReference| {
        owner.controller && owner.kind == "ExternalSecret" && owner.name == name && owner.uid == uid
    };
    if meta.owner_references.iter().find(is_owner).is_none() {
        return Err(Kept::NotOwned);
    }
    let managers = managers(name);
    for key in secret.data.keys() {
        let owners = owners(&meta.managed_fields, key);
        if owners.is_empty() {
            return Err(Kept::UnknownWriter);
        }
        if !owners
            .iter()
            .all(|owner| managers.iter().any(|own| own == owner))
        {
            return Err(Kept::OtherWriter);
        }
    }
    Ok(())
}

/// The field managers that the operator uses for an ExternalSecret: by its name, or by the digest of a long name.
fn managers(name: &str) -> [String; 3] {
    let digest = Algorithm::Sha3_224.hex(name);
    [
        format!("{OPERATOR}{name}"),
        format!("{OPERATOR}sha3/{digest}"),
        OLD_OPERATOR.to_owned(),
    ]
}

/// The field managers that own this key of the data.
fn owners<'a>(managed: &'a [Json], key: &str) -> Vec<&'a str> {
    let field = format!("f:{key}");
    let owns = |entry: &&Json| {
        let data = entry
            .get("fieldsV1")
            .and_then(|fields| fields.get("f:data"));
        data.is_some_and(|data| data.get(&field).is_some())
    };
    let owners = managed.iter().filter(owns);
    // An entry without a name is somebody else's.
    owners
        .map(|entry| {
            entry
                .get("manager")
                .and_then(Json::as_str)
                .unwrap_or_default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use eso_model::expected::SecretFingerprints;
    use secret::RunKey;
    use serde_json::json;

    use super::*;
    use crate::finding::version;

    const ES: &str = "externalsecrets.external-secrets.io/es";

    /// A Secret with the keys `a` and `b`, which these managers wrote.
    fn secret(managed: &Json) -> Json {
        json!({
            "metadata": {
                "uid": "u", "resourceVersion": "7", "managedFields": managed,
                "ownerReferences": [{"kind": "ExternalSecret", "name": "es", "uid": "es-1", "controller": true}],
            },
            "data": {"a": "MQ==", "b": "Mg=="},
        })
    }

    fn by(manager: &str, keys: &[&str]) -> Json {
        let keys = keys.iter().map(|key| (format!("f:{key}"), json!({})));
        let mut fields: serde_json::Map<String, Json> = keys.collect();
        fields.insert(".".to_owned(), json!({}));
        json!({"manager": manager, "operation": "Update", "fieldsV1": {"f:data": fields, "f:type": {}}})
    }

    fn read(secret: &Json) -> wire::Secret {
        serde_json::from_value(secret.clone()).unwrap()
    }

    fn decided(judged: &Json, now: &Json) -> Result<(), Kept> {
        let key = Arc::new(RunKey::from_bytes([3; 32]));
        let judged = read(judged);
        let held = SecretFingerprints::of(&judged.data, &key);
        let judged = Judged::of(&held, version(&judged.metadata, &key), &key);
        may_delete(&read(now), Some(&judged), ("es", "es-1"))
    }

    #[test]
    fn only_a_secret_whose_whole_data_is_the_operators_may_be_deleted() {
        let long = format!("{OPERATOR}sha3/{}", Algorithm::Sha3_224.hex("es"));
        let table = [
            (json!([by(ES, &["a", "b"])]), Ok(())),
            (json!([by(&long, &["a", "b"])]), Ok(())),
            (json!([by(OLD_OPERATOR, &["a", "b"])]), Ok(())),
            (
                json!([by(ES, &["a", "b"]), by("kubectl-label", &[])]),
                Ok(()),
            ),
            (
                json!([by(ES, &["a"]), by("kubectl-edit", &["b"])]),
                Err(Kept::OtherWriter),
            ),
            (
                json!([by(ES, &["a", "b"]), by("argocd-controller", &["b"])]),
                Err(Kept::OtherWriter),
            ),
            (
                json!([by(ES, &["a"]), by(&format!("{OPERATOR}other"), &["b"])]),
                Err(Kept::OtherWriter),
            ),
            (
                json!([by(ES, &["a"]), by(&format!("{ES}-2"), &["b"])]),
                Err(Kept::OtherWriter),
            ),
            (json!([by(ES, &["a"])]), Err(Kept::UnknownWriter)),
            (json!([]), Err(Kept::UnknownWriter)),
            (
                json!([by(ES, &["a", "b"]), {"fieldsV1": {"f:data": {"f:a": {}}}}]),
                Err(Kept::OtherWriter),
            ),
        ];
        for (managed, expected) in table {
            let secret = secret(&managed);
            assert_eq!(decided(&secret, &secret), expected, "{managed}");
        }
    }

    #[test]
    fn only_the_secret_that_was_judged_may_be_deleted() {
        let judged = secret(&json!([by(ES, &["a", "b"])]));
        for (pointer, other) in [
            ("/metadata/uid", json!("v")),
            ("/metadata/resourceVersion", json!("8")),
            ("/data/a", json!("Mg==")),
            ("/metadata/deletionTimestamp", json!("2026-03-01T12:00:00Z")),
        ] {
            let mut now = judged.clone();
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            now.pointer_mut(parent).unwrap()[name] = other;
            assert_eq!(
                decided(&judged, &now),
                Err(Kept::ChangedSinceJudged),
                "{pointer}"
            );
        }
        let result = may_delete(&read(&judged), None, ("es", "es-1"));
        assert_eq!(result, Err(Kept::ChangedSinceJudged), "it was not judged");
    }

    #[test]
    fn only_a_secret_that_the_external_secret_owns_may_be_deleted() {
        for owners in [
            json!([]),
            json!([{"kind": "ExternalSecret", "name": "other", "uid": "es-1", "controller": true}]),
            json!([{"kind": "ExternalSecret", "name": "es", "uid": "es-0", "controller": true}]),
            json!([{"kind": "ExternalSecret", "name": "es", "uid": "es-1"}]),
            json!([{"kind": "SealedSecret", "name": "es", "uid": "es-1", "controller": true}]),
        ] {
            let mut secret = secret(&json!([by(ES, &["a", "b"])]));
            secret["metadata"]["ownerReferences"] = owners;
            assert_eq!(decided(&secret, &secret), Err(Kept::NotOwned));
        }
    }
}
