//! The private keys that open files.

use secret::Value;
use sops::Identities;

use crate::{
    policy::KeyFrom,
    publish::{fault::Fault, keys::Keys},
};

/// The age and PGP keys in these places.
pub(super) async fn identities(keys: &Keys<'_>, all: &[KeyFrom]) -> Result<Identities, Fault> {
    let mut identities = Identities::default();
    for from in all {
        let found = keys.read(from).await?;
        let mut any = false;
        for value in found.values() {
            any |= add(&mut identities, value, from)?;
        }
        if !any {
            let message =
                format!("{from} contains neither an age identity nor an armoured PGP private key");
            return Err(Fault::new("invalid-key", message));
        }
    }
    Ok(identities)
}

/// The same for the real sops, which reads more kinds of private keys.
pub(super) async fn texts(keys: &Keys<'_>, all: &[KeyFrom]) -> Result<Vec<Value>, Fault> {
    let mut texts = Vec::new();
    for from in all {
        texts.extend(keys.read(from).await?.into_values());
    }
    Ok(texts)
}

/// Adds what a value contains, if it contains private keys.
fn add(identities: &mut Identities, value: &Value, from: &KeyFrom) -> Result<bool, Fault> {
    let refused =
        |refused: sops::Refused| Fault::new(refused.reason.word(), format!("{from}: {refused}"));
    let contains = |text: &[u8]| value.expose().windows(text.len()).any(|part| part == text);
    if contains(b"-----BEGIN PGP PRIVATE KEY BLOCK-----") {
        #[cfg(feature = "sops-pgp")]
        {
            identities.add_pgp(value.expose()).map_err(refused)?;
            return Ok(true);
        }
        #[cfg(not(feature = "sops-pgp"))]
        {
            let message = format!(
                "{from} contains a PGP key, and this build has no support for them (feature `sops-pgp`)"
            );
            return Err(Fault::new("unsupported", message));
        }
    }
    if contains(b"AGE-SECRET-KEY-1") {
        identities.add_age(value.expose()).map_err(refused)?;
        return Ok(true);
    }
    Ok(false)
}
