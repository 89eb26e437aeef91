//! Decrypts SOPS files for the readers of the repository.

use std::{collections::BTreeSet, fmt::Write as _, io};

use repository::{Decrypted, Undecrypted};
use secret::{Buffer, Value};
use sops::{
    Element, File, Format, Identities, Kind, MasterKey, Member, Node, Protection, Reason, Step,
};

use super::{
    program,
    services::{Answers, Unopened},
};
use crate::policy::publish::Sops;

/// What opens the files of an item.
#[derive(Clone, Copy)]
pub(super) struct Opening<'a> {
    pub(super) identities: &'a Identities,
    pub(super) answers: &'a Answers,
    /// What the real sops printed, if it is used.
    pub(super) printed: Option<&'a program::Printed>,
}

/// Decrypts a file of an item. A file without the metadata of SOPS is returned as it is.
pub(super) fn decrypt(
    opening: Opening<'_>,
    rules: &Sops,
    (path, content): (&str, &[u8]),
) -> Result<Decrypted, Undecrypted> {
    let Opening {
        identities,
        answers,
        printed,
    } = opening;
    let format = Format::of(std::path::Path::new(path));
    let file = File::parse(format, content);
    if let Err(refused) = &file
        && is_plain(refused.reason, content)
    {
        return Ok(Decrypted::NotSops);
    }
    if let Some(printed) = printed
        && let Some(decrypted) = by_program(printed, path, file.as_ref().ok(), rules)
    {
        return decrypted;
    }
    let file = file.map_err(|refused| undecrypted(&refused))?;
    let key = file
        .data_key(identities, answers.of(path))
        .map_err(|refused| unopened(path, &refused, answers))?;
    let decrypted = file
        .decrypt(&key)
        .map_err(|refused| undecrypted(&refused))?;
    let documents = decrypted.documents.iter();
    let entries = documents.flat_map(|document| sops::entries(document));
    let protections = entries.map(|entry| (entry.path, entry.scalar.protection));
    let unencrypted = unprotected(protections, rules)?;
    let (text, is_exact) = match format {
        // The notation of sops is not known, so this is good for the data only.
        Format::Yaml => (yaml(&decrypted), false),
        Format::Json | Format::Dotenv | Format::Ini | Format::Binary => {
            let text = decrypted.text().map_err(|refused| undecrypted(&refused))?;
            (text, true)
        }
    };
    Ok(Decrypted::Sops {
        text,
        is_exact,
        unencrypted,
    })
}

/// What the real sops makes of a file. None if a key service must open it: the program never asks one, because the file itself names
/// the servers.
fn by_program(
    printed: &program::Printed,
    path: &str,
    file: Option<&File>,
    rules: &Sops,
) -> Option<Result<Decrypted, Undecrypted>> {
    let unopened = match printed.of(path) {
        Some(Ok(text)) => {
            let unencrypted = match file {
                Some(file) => unprotected(file.protections().into_iter(), rules),
                None if rules.allow_empty && rules.allow_unencrypted => Ok(BTreeSet::new()),
                None => Err(Undecrypted {
                    reason: "unencrypted-value",
                    message: "eso-sync cannot read this SOPS file, so it cannot tell which values are encrypted. Set `sops.allowEmpty: true` \
                              and `sops.allowUnencrypted: true` if this does not matter"
                        .to_owned(),
                }),
            };
            let text = text.duplicate();
            return Some(unencrypted.map(|unencrypted| Decrypted::Sops {
                text,
                is_exact: true,
                unencrypted,
            }));
        }
        Some(Err(unopened)) => unopened.clone(),
        None => Unopened {
            reason: program::NO_KEY,
            message: "the program was not started".to_owned(),
        },
    };
    if unopened.reason == program::NO_KEY
        && printed.was_started_for(path)
        && file.is_some_and(has_service)
    {
        return None;
    }
    let Unopened { reason, message } = unopened;
    Some(Err(Undecrypted { reason, message }))
}

/// True if a key service can open the file.
fn has_service(file: &File) -> bool {
    file.recipients()
        .iter()
        .any(|recipient| match recipient.key {
            MasterKey::AwsKms { .. }
            | MasterKey::GcpKms { .. }
            | MasterKey::AzureKeyVault { .. }
            | MasterKey::VaultTransit { .. } => true,
            MasterKey::Age { .. } | MasterKey::Pgp { .. } | MasterKey::HuaweiKms { .. } => false,
        })
}

/// The documents as JSON, which is YAML as well. Numbers keep their text.
fn yaml(decrypted: &sops::Decrypted) -> Value {
    let mut text = Text(Buffer::with_capacity(4096));
    for document in &decrypted.documents {
        text.0.push(b"---\n");
        text.map(document);
        text.0.push(b"\n");
    }
    text.0.finish()
}

/// Text that is wiped.
struct Text(Buffer);

impl Text {
    fn map(&mut self, members: &[Member]) {
        self.0.push(b"{");
        let mut separator: &[u8] = b"";
        for member in members {
            if let Member::Entry(key, node) = member {
                self.0.push(separator);
                separator = b",";
                self.quoted(key.as_bytes());
                // The space makes it a key of YAML, too.
                self.0.push(b": ");
                self.node(node);
            }
        }
        self.0.push(b"}");
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Map(members) => self.map(members),
            Node::List(elements) => {
                self.0.push(b"[");
                let mut separator: &[u8] = b"";
                for element in elements {
                    if let Element::Value(node) = element {
                        self.0.push(separator);
                        separator = b",";
                        self.node(node);
                    }
                }
                self.0.push(b"]");
            }
            Node::Scalar(scalar) => match scalar.kind {
                Kind::Text | Kind::Bytes | Kind::Time => self.quoted(scalar.value.expose()),
                Kind::Int | Kind::Float | Kind::Bool => self.0.push(scalar.value.expose()),
                Kind::Null => self.0.push(b"null"),
            },
        }
    }

    /// Writes a text in quotes. What is not UTF-8 becomes a replacement character, which no reader takes for the value.
    fn quoted(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        // Neither text nor the buffer can fail.
        drop(serde_json::to_writer(&mut *self, &*text));
    }
}

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// True if the file is not one of SOPS. A file that mentions SOPS is never taken for plain text because it cannot be parsed.
fn is_plain(reason: Reason, content: &[u8]) -> bool {
    let mentions = |text: &[u8]| content.windows(text.len()).any(|part| part == text);
    reason == Reason::NoMetadata || !(mentions(b"ENC[AES256_GCM") || mentions(b"sops"))
}

/// The keys of values that are not encrypted. Refuses those that the rules do not accept: the MAC does not cover their names.
fn unprotected<'a>(
    protections: impl Iterator<Item = (Vec<Step<'a>>, Protection)>,
    rules: &Sops,
) -> Result<BTreeSet<String>, Undecrypted> {
    let mut keys = BTreeSet::new();
    for (path, protection) in protections {
        let (reason, what, remedy) = match protection {
            Protection::Encrypted => continue,
            Protection::Unencrypted => (
                "unencrypted-value",
                "is not encrypted",
                "Encrypt it, or set `sops.allowUnencrypted: true`",
            ),
            Protection::Empty => (
                "empty-value",
                "is empty",
                "Remove it, or set `sops.allowEmpty: true` if the provider stores empty values",
            ),
        };
        let is_accepted = match protection {
            Protection::Empty => rules.allow_empty,
            Protection::Encrypted | Protection::Unencrypted => rules.allow_unencrypted,
        };
        let path = flattened(&path);
        if !is_accepted {
            let shown = crate::foreign::line(&path);
            return Err(Undecrypted {
                reason,
                message: format!(
                    "the value of `{shown}` {what}, so anybody who can commit could have added it. {remedy}"
                ),
            });
        }
        keys.insert(path);
    }
    Ok(keys)
}

/// `a.b[0]`
fn flattened(path: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in path {
        // Writing to a String cannot fail.
        let _ = match step {
            Step::Key(key) if text.is_empty() => write!(text, "{key}"),
            Step::Key(key) => write!(text, ".{key}"),
            Step::Index(index) => write!(text, "[{index}]"),
        };
    }
    text
}

/// Why no key opens the file. Key services may open it later, if they were not asked yet.
fn unopened(path: &str, refused: &sops::Refused, answers: &Answers) -> Undecrypted {
    let why = (refused.reason == Reason::NoIdentityFits)
        .then(|| answers.lacks(path))
        .flatten();
    match why {
        Some(why) => Undecrypted {
            reason: why.reason,
            message: why.message.clone(),
        },
        None => undecrypted(refused),
    }
}

fn undecrypted(refused: &sops::Refused) -> Undecrypted {
    Undecrypted {
        reason: refused.reason.word(),
        message: refused.to_string(),
    }
}
