//! The real sops: `sops decrypt`, with the private keys of the item and nothing else.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use repository::Tree;
use secret::{Buffer, Value};
use sops::Format;
use zeroize::Zeroizing;

use super::services::Unopened;
use crate::publish::{
    fault::Fault,
    program::{Call, Failed, folder::Folder},
};

const PGP: &str = "-----BEGIN PGP PRIVATE KEY BLOCK-----";
const END_OF_PGP: &str = "-----END PGP PRIVATE KEY BLOCK-----";
/// The reason if no private key opens a file. A key service may open it then.
pub(super) const NO_KEY: &str = "no-identity-fits";

/// What the program printed for the files of an item.
#[derive(Default)]
pub(super) struct Printed {
    files: BTreeMap<String, Result<Value, Unopened>>,
    /// Files that it was not started for yet.
    open: RefCell<BTreeSet<String>>,
}

impl Printed {
    /// What it printed for a file. None if it was not started for it yet; then this asks for it.
    pub(super) fn of(&self, path: &str) -> Option<&Result<Value, Unopened>> {
        let printed = self.files.get(path);
        if printed.is_none() {
            self.open.borrow_mut().insert(path.to_owned());
        }
        printed
    }

    pub(super) fn was_started_for(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// True if the program must be started.
    pub(super) fn is_asked_for(&self) -> bool {
        !self.open.borrow().is_empty()
    }

    /// Starts the program for each file that it was asked for.
    pub(super) async fn run(&mut self, program: &Path, keys: &[Value], tree: &Tree) {
        let open = self.open.take();
        if open.is_empty() {
            return;
        }
        let home = Home::create(keys);
        for path in open {
            let Ok(content) = tree.get(&path) else {
                continue;
            };
            let printed = match &home {
                Ok(home) => decrypt(program, home, &path, content.expose()).await,
                Err(fault) => Err(unopened(fault)),
            };
            self.files.insert(path, printed);
        }
    }
}

/// The private keys where sops looks for them.
struct Home(Folder);

impl Home {
    fn create(keys: &[Value]) -> Result<Self, Fault> {
        let mut folder = Folder::create()?;
        let (mut age, mut pgp) = (Buffer::default(), Buffer::default());
        for key in keys {
            let text = std::str::from_utf8(key.expose()).unwrap_or_default();
            if text.contains(PGP) {
                unarmoured(text, &mut pgp)?;
            } else if text.contains("AGE-") {
                age.push(text.as_bytes());
                age.push(b"\n");
            }
            // A Secret may have other data, too.
        }
        folder.add("age", age.as_bytes())?;
        // The ring of older versions of GnuPG, which sops reads without starting gpg.
        folder.add("gnupg/secring.gpg", pgp.as_bytes())?;
        Ok(Self(folder))
    }
}

/// Adds the packets of armoured keys, without their checksum.
fn unarmoured(text: &str, ring: &mut Buffer) -> Result<(), Fault> {
    for block in text.split(PGP).skip(1) {
        let block = block.split(END_OF_PGP).next().unwrap_or_default();
        let mut lines = block.lines().map(str::trim).skip(1);
        // Headers end with an empty line.
        if block.lines().any(|line| line.contains(": ")) {
            lines.by_ref().find(|line| line.is_empty());
        }
        let mut packets = Buffer::default();
        for line in lines.take_while(|line| !line.starts_with('=')) {
            packets.push(line.as_bytes());
        }
        let packets = STANDARD.decode(packets.as_bytes()).map(Zeroizing::new);
        let packets = packets.map_err(|_| {
            let message = "a PGP private key of `sops.keys` is not armoured correctly";
            Fault::new("invalid-identity", message)
        })?;
        ring.push(&packets);
    }
    Ok(())
}

async fn decrypt(
    program: &Path,
    Home(home): &Home,
    path: &str,
    content: &[u8],
) -> Result<Value, Unopened> {
    let kind = match Format::of(Path::new(path)) {
        Format::Yaml => "yaml",
        Format::Json => "json",
        Format::Dotenv => "dotenv",
        Format::Ini => "ini",
        Format::Binary => "binary",
    };
    let arguments = [
        "decrypt",
        "--input-type",
        kind,
        "--output-type",
        kind,
        "/dev/stdin",
    ];
    let mut call = Call::new(program, arguments.map(Into::into).to_vec(), content);
    // sops looks for plugins of age beside itself only: whoever deploys the job puts them there.
    let folder = program.parent().unwrap_or(Path::new("/nonexistent"));
    call.environment = vec![
        ("PATH", folder.into()),
        ("HOME", home.path().into()),
        ("GNUPGHOME", home.path().join("gnupg").into()),
        ("SOPS_AGE_KEY_FILE", home.path().join("age").into()),
        // No gpg is needed. Without this, sops would start one that it finds.
        ("SOPS_GPG_EXEC", "/nonexistent".into()),
    ];
    call.run().await.map_err(|failed| match failed {
        Failed::Fault(fault) => unopened(&fault),
        Failed::Said(said, how) => why(&said, &how),
    })
}

fn unopened(fault: &Fault) -> Unopened {
    Unopened {
        reason: fault.reason,
        message: fault.message.clone(),
    }
}

/// Why sops failed. It prints digests of values and whole lines of files, so its words only choose the reason.
fn why(said: &Value, how: &str) -> Unopened {
    let reasons: [(&[&str], &str, &str); 4] = [
        (&["File has no MAC"], "mac-missing", "the file has no MAC"),
        (
            &["MAC mismatch", "MacMismatch"],
            "mac-mismatch",
            "the values of the file are not those that its MAC was computed for",
        ),
        (
            &["Failed to get the data key", "Error getting data key"],
            NO_KEY,
            "none of the private keys of `sops.keys` opens the file",
        ),
        (
            &["Could not decrypt", "Error decrypting"],
            "not-authentic",
            "a value was changed, moved, or encrypted with another data key",
        ),
    ];
    let found = reasons.iter().find(|(words, ..)| Failed::says(said, words));
    let (reason, why) = found.map_or(
        ("sops-failed", "run `sops decrypt` with the file to see why: its message may contain values, so it is not shown"),
        |(_, reason, why)| (*reason, *why),
    );
    Unopened {
        reason,
        message: format!("{how}: {why}"),
    }
}

#[cfg(test)]
mod tests;
