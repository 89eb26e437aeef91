//! Decrypts the SOPS files of an item: with its private keys, with key services, or with the real sops.

mod decrypt;
mod private_keys;
mod program;
mod services;

use std::path::Path;

use pace::Clock;
use providers::Ambient;
use repository::{Decrypted, Tree, Undecrypted};
use secret::Value;
use sops::Identities;
use strum::IntoEnumIterator as _;

use self::{
    decrypt::Opening,
    program::Printed,
    services::{Answers, Services},
};
use super::{fault::Fault, keys::Keys};
use crate::policy::publish::Sops;

/// The words for which a file or a private key is refused, with their meanings: sentences without a full stop.
pub fn reasons() -> Vec<(&'static str, &'static str)> {
    let all = sops::Reason::iter();
    all.map(|reason| (reason.word(), reason.sentence()))
        .collect()
}

/// The decryption of the files of an item.
pub(super) struct Decryption<'a> {
    rules: &'a Sops,
    identities: Identities,
    answers: Answers,
    /// None if eso-sync decrypts the files itself.
    real: Option<Real<'a>>,
}

/// The real sops.
struct Real<'a> {
    program: &'a Path,
    keys: Vec<Value>,
    printed: Printed,
}

impl<'a> Decryption<'a> {
    /// Reads the private keys. With a program, the real sops uses them.
    pub(super) async fn of(
        rules: &'a Sops,
        program: Option<&'a Path>,
        keys: &Keys<'_>,
    ) -> Result<Self, Fault> {
        let mut decryption = Self {
            rules,
            identities: Identities::default(),
            answers: Answers::default(),
            real: None,
        };
        if let Some(program) = program {
            decryption.real = Some(Real {
                program,
                keys: private_keys::texts(keys, &rules.keys).await?,
                printed: Printed::default(),
            });
        } else {
            decryption.identities = private_keys::identities(keys, &rules.keys).await?;
        }
        Ok(decryption)
    }

    /// Decrypts a file. A file without the metadata of SOPS is returned as it is.
    pub(super) fn decrypt(&self, path: &str, content: &[u8]) -> Result<Decrypted, Undecrypted> {
        let opening = Opening {
            identities: &self.identities,
            answers: &self.answers,
            printed: self.real.as_ref().map(|real| &real.printed),
        };
        decrypt::decrypt(opening, self.rules, (path, content))
    }

    /// True if files need a key service or the real sops.
    pub(super) fn is_asked_for(&self) -> bool {
        let real = self.real.as_ref();
        self.answers.is_asked_for() || real.is_some_and(|real| real.printed.is_asked_for())
    }

    /// Asks key services and starts the real sops. Each file is asked for once.
    pub(super) async fn ask(&mut self, tree: &Tree, ambient: &Ambient, clock: Clock) {
        let services = Services {
            permitted: &self.rules.kms,
            ambient,
            clock,
        };
        for path in self.answers.take_open() {
            if let Ok(content) = tree.get(&path) {
                services
                    .ask(&path, content.expose(), &mut self.answers)
                    .await;
            }
        }
        if let Some(Real {
            program,
            keys,
            printed,
        }) = &mut self.real
        {
            Box::pin(printed.run(program, keys, tree)).await;
        }
    }
}
