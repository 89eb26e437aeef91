//! Shows what a SOPS file contains, without its values.
//!
//! `inspect FILE` lists the recipients. `inspect FILE IDENTITY` decrypts the file with an age identity file or an armoured PGP private
//! key, verifies its MAC, and lists the paths.

#![expect(clippy::print_stdout, reason = "a command line program")]

use std::{env, error::Error, fs, path::Path};

use sops::{Decrypted, File, Format, Identities, Kind, MasterKey, Protection, Recipient, Step};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let path = arguments.next().ok_or("usage: inspect FILE [IDENTITY]")?;
    let file = File::parse(Format::of(Path::new(&path)), &fs::read(&path)?)?;
    let Some(identity) = arguments.next() else {
        file.recipients().iter().for_each(show_recipient);
        return Ok(());
    };
    let mut identities = Identities::default();
    let text = fs::read(identity)?;
    if text.starts_with(b"-----BEGIN PGP") {
        identities.add_pgp(&text)?;
    } else {
        identities.add_age(&text)?;
    }
    let key = file.data_key(&identities, &[])?;
    show(&file.decrypt(&key)?);
    Ok(())
}

fn show_recipient(recipient: &Recipient) {
    let name = match &recipient.key {
        MasterKey::Age { recipient, .. } => recipient,
        MasterKey::Pgp { fingerprint, .. } => fingerprint,
        MasterKey::AwsKms { arn, .. } => arn,
        MasterKey::GcpKms { resource_id, .. } => resource_id,
        MasterKey::AzureKeyVault { name, .. } => name,
        MasterKey::VaultTransit { key_name, .. } => key_name,
        MasterKey::HuaweiKms { key_id } => key_id,
    };
    // The file may be anybody's: control characters are escaped.
    println!("group {}: {}", recipient.group, name.escape_debug());
}

fn show(decrypted: &Decrypted) {
    for document in &decrypted.documents {
        println!("document");
        for entry in sops::entries(document) {
            let path: Vec<String> = entry.path.iter().map(step).collect();
            let path = path.join(".");
            println!(
                "  {path}: {}",
                words(entry.scalar.kind, entry.scalar.protection)
            );
        }
    }
}

fn step(step: &Step<'_>) -> String {
    match step {
        Step::Key(key) => key.escape_debug().to_string(),
        Step::Index(index) => format!("[{index}]"),
    }
}

fn words(kind: Kind, protection: Protection) -> String {
    let kind = match kind {
        Kind::Text => "text",
        Kind::Int => "integer",
        Kind::Float => "number",
        Kind::Bool => "boolean",
        Kind::Bytes => "bytes",
        Kind::Time => "time",
        Kind::Null => "null",
    };
    let protection = match protection {
        Protection::Encrypted => "encrypted",
        Protection::Unencrypted => "not encrypted",
        Protection::Empty => "empty",
    };
    format!("{kind}, {protection}")
}
