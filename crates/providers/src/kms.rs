//! Key services: they decrypt what was encrypted with one of their keys. They are called with the job's own credentials, which go
//! only to the clouds' own hosts, and to endpoints that the policy names.

use std::collections::BTreeMap;

use pace::Clock;
use secret::Value;

#[cfg(not(all(feature = "aws", feature = "gcp", feature = "azure", feature = "vault")))]
use crate::unread;
use crate::{Ambient, Unread};

/// A key of a service.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// AWS KMS.
    Aws {
        arn: &'a str,
        /// The encryption context.
        context: &'a BTreeMap<String, String>,
    },
    /// GCP KMS: `projects/…/locations/…/keyRings/…/cryptoKeys/…`
    Gcp { resource: &'a str },
    /// An RSA key of Azure Key Vault.
    Azure {
        vault: &'a str,
        name: &'a str,
        version: &'a str,
    },
    /// The transit engine of Vault or OpenBao.
    Vault {
        server: &'a str,
        mount: &'a str,
        name: &'a str,
    },
}

/// Decrypts with a key.
pub async fn decrypt(
    key: Key<'_>,
    encrypted: &[u8],
    ambient: &Ambient,
    clock: Clock,
) -> Result<Value, Unread> {
    // Each service is a feature, and only AWS signs with the time.
    let _ = (encrypted, ambient, clock);
    match key {
        #[cfg(feature = "aws")]
        Key::Aws { arn, context } => {
            crate::aws::kms::decrypt(arn, context, encrypted, ambient, clock).await
        }
        #[cfg(feature = "gcp")]
        Key::Gcp { resource } => crate::gcp::kms::decrypt(resource, encrypted, ambient).await,
        #[cfg(feature = "azure")]
        Key::Azure {
            vault,
            name,
            version,
        } => crate::azure::keys::decrypt([vault, name, version], encrypted, ambient).await,
        #[cfg(feature = "vault")]
        Key::Vault {
            server,
            mount,
            name,
        } => crate::vault::transit::decrypt([server, mount, name], encrypted, ambient).await,
        #[cfg(not(all(feature = "aws", feature = "gcp", feature = "azure", feature = "vault")))]
        _ => Err(Unread::store(
            unread::UNSUPPORTED,
            "this build has no client for this key service",
        )),
    }
}
