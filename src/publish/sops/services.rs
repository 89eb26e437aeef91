//! Key services that open SOPS files: AWS KMS, GCP KMS, Key Vault and Vault transit. Everything about a recipient comes from its
//! file, so only keys that the policy names are asked.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use pace::Clock;
use providers::{Ambient, kms};
use secret::Value;
use sops::{Answer, Format, MasterKey};

use crate::pattern::Wildcard;

/// The most calls for one file.
const MAX_CALLS: usize = 16;

/// Why no key opens a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unopened {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// What key services answered for the files of an item.
#[derive(Default)]
pub(super) struct Answers {
    files: BTreeMap<String, Vec<Answer>>,
    /// Why a file has no answer.
    failures: BTreeMap<String, Unopened>,
    /// Files that no identity opens, and that nobody asked for yet.
    open: RefCell<BTreeSet<String>>,
    asked: BTreeSet<String>,
}

impl Answers {
    /// The answers for a file.
    pub(super) fn of(&self, path: &str) -> &[Answer] {
        self.files.get(path).map_or(&[], Vec::as_slice)
    }

    /// Records that no identity opens a file. Returns why no key service did, if they were asked.
    pub(super) fn lacks(&self, path: &str) -> Option<&Unopened> {
        if !self.asked.contains(path) {
            self.open.borrow_mut().insert(path.to_owned());
        }
        self.failures.get(path)
    }

    /// True if a key service must be asked.
    pub(super) fn is_asked_for(&self) -> bool {
        !self.open.borrow().is_empty()
    }

    /// The files to ask for. Each is returned once.
    pub(super) fn take_open(&mut self) -> BTreeSet<String> {
        let open = self.open.take();
        self.asked.extend(open.iter().cloned());
        open
    }
}

/// The key services of an item.
pub(super) struct Services<'a> {
    /// The keys that the policy names.
    pub(super) permitted: &'a [Wildcard],
    pub(super) ambient: &'a Ambient,
    pub(super) clock: Clock,
}

impl Services<'_> {
    /// Asks for the data key of a file.
    pub(super) async fn ask(&self, path: &str, content: &[u8], answers: &mut Answers) {
        let format = Format::of(std::path::Path::new(path));
        // The reader of the file reports what is wrong with it.
        let Ok(file) = sops::File::parse(format, content) else {
            return;
        };
        let (mut found, mut failure, mut calls) = (Vec::new(), None, 0);
        let mut opened = BTreeSet::new();
        for (index, recipient) in file.recipients().iter().enumerate() {
            let Some(name) = name_of(&recipient.key) else {
                continue;
            };
            if opened.contains(&recipient.group) {
                continue;
            }
            if !self.permitted.iter().any(|glob| glob.matches(&name)) {
                failure.get_or_insert_with(|| not_permitted(&name));
                continue;
            }
            if calls == MAX_CALLS {
                break;
            }
            calls += 1;
            match self.decrypt(&recipient.key).await {
                Ok(decrypted) => {
                    opened.insert(recipient.group);
                    found.push(Answer {
                        recipient: index,
                        decrypted,
                    });
                }
                Err(unread) => {
                    let shown = crate::foreign::line(&name);
                    failure = Some(Unopened {
                        reason: unread.why.reason,
                        message: format!("{shown}: {}", unread.why.detail),
                    });
                }
            }
        }
        if found.is_empty() {
            let failure = failure.unwrap_or_else(|| Unopened {
                reason: "no-identity-fits",
                message: "no private key of `sops.keys` opens the file, and it has no key of a key service"
                    .to_owned(),
            });
            answers.failures.insert(path.to_owned(), failure);
        } else {
            answers.files.insert(path.to_owned(), found);
        }
    }

    async fn decrypt(&self, key: &MasterKey) -> Result<Value, providers::Unread> {
        let (key, encrypted): (kms::Key<'_>, &[u8]) = match key {
            // The role and the profile are those of the person who encrypted the file: the job has its own identity.
            MasterKey::AwsKms {
                arn,
                role: _,
                profile: _,
                context,
                encrypted,
            } => (kms::Key::Aws { arn, context }, encrypted),
            MasterKey::GcpKms {
                resource_id: resource,
                encrypted,
            } => (kms::Key::Gcp { resource }, encrypted),
            MasterKey::AzureKeyVault {
                vault_url: vault,
                name,
                version,
                encrypted,
            } => {
                let key = kms::Key::Azure {
                    vault,
                    name,
                    version,
                };
                (key, encrypted)
            }
            MasterKey::VaultTransit {
                address: server,
                engine_path: mount,
                key_name: name,
                encrypted,
            } => {
                let key = kms::Key::Vault {
                    server,
                    mount,
                    name,
                };
                (key, encrypted.as_bytes())
            }
            MasterKey::Age { .. } | MasterKey::Pgp { .. } | MasterKey::HuaweiKms { .. } => {
                let reason = providers::unread::UNSUPPORTED;
                return Err(providers::Unread::secret(
                    reason,
                    "this is no key of a service",
                ));
            }
        };
        Box::pin(kms::decrypt(key, encrypted, self.ambient, self.clock)).await
    }
}

fn not_permitted(name: &str) -> Unopened {
    let shown = crate::foreign::line(name);
    Unopened {
        reason: "key-not-permitted",
        message: format!(
            "no private key of `sops.keys` opens the file, and `sops.kms` does not contain its key {shown}"
        ),
    }
}

/// The name of a service's key, as `.sops.yaml` writes it. None for other keys.
fn name_of(key: &MasterKey) -> Option<String> {
    match key {
        MasterKey::AwsKms { arn, .. } => Some(arn.clone()),
        MasterKey::GcpKms { resource_id, .. } => Some(resource_id.clone()),
        MasterKey::AzureKeyVault {
            vault_url,
            name,
            version,
            ..
        } => Some(format!("{}/keys/{name}/{version}", origin(vault_url)?)),
        MasterKey::VaultTransit {
            address,
            engine_path,
            key_name,
            ..
        } => {
            let mount = engine_path.trim_matches('/');
            let parts = mount.split('/').chain([key_name.as_str()]);
            let is_plain = |part: &str| !matches!(part, "" | "." | "..");
            let is_plain = parts.clone().all(is_plain) && !key_name.contains('/');
            let is_text = !mount.contains(['?', '#', '%']) && !key_name.contains(['?', '#', '%']);
            (is_plain && is_text)
                .then(|| Some(format!("{}/v1/{mount}/keys/{key_name}", origin(address)?)))?
        }
        MasterKey::Age { .. } | MasterKey::Pgp { .. } | MasterKey::HuaweiKms { .. } => None,
    }
}

/// Scheme, host and port of an address without anything else, in one form only, so that a glob can match it.
fn origin(address: &str) -> Option<String> {
    let origin: Result<providers::trust::Origin, _> = address.parse();
    origin.ok().map(|origin| origin.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(address: &str, mount: &str, key: &str) -> Option<String> {
        name_of(&MasterKey::VaultTransit {
            address: address.to_owned(),
            engine_path: mount.to_owned(),
            key_name: key.to_owned(),
            encrypted: String::new(),
        })
    }

    #[test]
    fn a_key_has_one_name_which_no_part_of_a_file_can_bend() {
        let good = Some("https://vault.corp:8200/v1/team/transit/keys/app".to_owned());
        assert_eq!(
            vault("https://VAULT.corp:8200/", "/team/transit/", "app"),
            good
        );
        for (address, mount, key) in [
            (
                "https://evil.example/?https://vault.corp:8200",
                "transit",
                "app",
            ),
            ("https://user@vault.corp:8200", "transit", "app"),
            ("http://vault.corp:8200", "transit", "app"),
            ("https://vault.corp:8200", "../../sys", "app"),
            ("https://vault.corp:8200", "transit", "../app"),
            ("https://vault.corp:8200", "transit", "app?x"),
            ("https://vault.corp:8200", "transit%2f..", "app"),
            ("https://vault.corp:8200", "", "app"),
        ] {
            assert_eq!(vault(address, mount, key), None, "{address} {mount} {key}");
        }
        let azure = |url: &str| {
            name_of(&MasterKey::AzureKeyVault {
                vault_url: url.to_owned(),
                name: "key".to_owned(),
                version: "1".to_owned(),
                encrypted: Vec::new(),
            })
        };
        let good = Some("https://a.vault.azure.net/keys/key/1".to_owned());
        assert_eq!(azure("https://a.vault.azure.net"), good);
        assert_eq!(azure("https://evil.example/a.vault.azure.net"), None);
    }
}
