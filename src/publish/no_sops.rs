//! In place of the decryption of SOPS files, in a program without the feature `sops`.

use std::path::Path;

use pace::Clock;
use providers::{Ambient, unread::UNSUPPORTED};
use repository::{Decrypted, Tree, Undecrypted};

use super::{fault::Fault, keys::Keys};
use crate::policy::publish::Sops;

/// Every SOPS file has it: its MAC is such a value.
const ENCRYPTED: &[u8] = b"ENC[AES256_GCM";

const MISSING: &str = "this program was built without the feature `sops`";

/// Without decryption, no file is refused for a reason of SOPS.
#[cfg(not(feature = "sops"))]
pub const fn reasons() -> Vec<(&'static str, &'static str)> {
    Vec::new()
}

/// Decrypts nothing, and refuses encrypted files.
pub(super) struct Decryption;

impl Decryption {
    #[expect(clippy::unused_async, reason = "as with the feature")]
    pub(super) async fn of(_: &Sops, program: Option<&Path>, _: &Keys<'_>) -> Result<Self, Fault> {
        if program.is_some() {
            let message = format!("--sops-program has no effect: {MISSING}");
            return Err(Fault::new(UNSUPPORTED, message));
        }
        Ok(Self)
    }

    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(super) fn decrypt(&self, _: &str, content: &[u8]) -> Result<Decrypted, Undecrypted> {
        if content
            .windows(ENCRYPTED.len())
            .any(|part| part == ENCRYPTED)
        {
            return Err(Undecrypted {
                reason: UNSUPPORTED,
                message: format!("the file is encrypted by SOPS, and {MISSING}"),
            });
        }
        Ok(Decrypted::NotSops)
    }

    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(super) const fn is_asked_for(&self) -> bool {
        false
    }

    #[expect(clippy::unused_async, reason = "as with the feature")]
    pub(super) async fn ask(&mut self, _: &Tree, _: &Ambient, _: Clock) {}
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn keys(environment: &BTreeMap<String, String>) -> Keys<'_> {
        Keys {
            cluster: None,
            namespace: None,
            environment,
        }
    }

    #[tokio::test]
    async fn encrypted_file_is_refused_with_the_name_of_the_feature() {
        let (rules, environment) = (Sops::default(), BTreeMap::new());
        let decryption = Decryption::of(&rules, None, &keys(&environment)).await;
        let mut decryption = decryption.unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/sops/tests/files");
        for name in [
            "all.env", "all.yaml", "all.json", "all.ini", "all.bin", "pgp.env",
        ] {
            let content = std::fs::read(folder.join("encrypted").join(name)).unwrap();
            let Err(Undecrypted { reason, message }) = decryption.decrypt(name, &content) else {
                unreachable!("{name} is accepted");
            };
            assert_eq!(reason, UNSUPPORTED, "{name}");
            assert!(message.contains("the feature `sops`"), "{message}");
        }
        for name in ["all.env", "all.yaml", "all.json", "all.ini"] {
            let content = std::fs::read(folder.join("plain").join(name)).unwrap();
            let decrypted = decryption.decrypt(name, &content);
            assert!(matches!(decrypted, Ok(Decrypted::NotSops)), "{name}");
        }
        assert!(!decryption.is_asked_for());
        let clock = Clock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        decryption
            .ask(&Tree::default(), &Ambient::default(), clock)
            .await;
    }

    #[tokio::test]
    async fn flag_for_the_real_sops_is_refused() {
        let (rules, environment) = (Sops::default(), BTreeMap::new());
        let program = Some(Path::new("/usr/bin/sops"));
        let refused = Decryption::of(&rules, program, &keys(&environment)).await;
        let Err(fault) = refused else {
            unreachable!("it is accepted");
        };
        assert!(fault.message.contains("--sops-program"), "{fault:?}");
    }
}
