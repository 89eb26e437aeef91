//! Hostile input: nothing panics, and no changed file is accepted as if it was unchanged.
#![cfg(test)]

use std::{fs, path::Path, sync::LazyLock};

use proptest::prelude::*;
use sops::{DataKey, Decrypted, File, Format, Identities, Protection, Refused};

const FORMATS: [(Format, &str); 5] = [
    (Format::Yaml, "all.yaml"),
    (Format::Json, "all.json"),
    (Format::Dotenv, "all.env"),
    (Format::Ini, "all.ini"),
    (Format::Binary, "all.bin"),
];

struct Sample {
    format: Format,
    text: Vec<u8>,
    key: DataKey,
    values: Vec<Vec<u8>>,
}

/// The files with their opened keys, because opening them takes most of the time.
static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files");
    let mut identities = Identities::default();
    let age = fs::read(folder.join("age.txt")).expect("a key");
    identities.add_age(&age).expect("an identity");
    FORMATS
        .map(|(format, name)| {
            let text = fs::read(folder.join("encrypted").join(name)).expect("a file");
            let file = File::parse(format, &text).expect("a file");
            let key = file.data_key(&identities, &[]).expect("a key");
            let values = encrypted(&file.decrypt(&key).expect("a tree"));
            Sample {
                format,
                text,
                key,
                values,
            }
        })
        .into()
});

/// The values that nobody without the data key can choose.
fn encrypted(decrypted: &Decrypted) -> Vec<Vec<u8>> {
    let documents = decrypted.documents.iter();
    documents
        .flat_map(|document| sops::entries(document))
        .filter(|entry| entry.scalar.protection == Protection::Encrypted)
        .map(|entry| entry.scalar.value.expose().to_vec())
        .collect()
}

fn read(format: Format, text: &[u8], key: &DataKey) -> Result<Decrypted, Refused> {
    let decrypted = File::parse(format, text)?.decrypt(key)?;
    // Must not panic either.
    drop(decrypted.text());
    Ok(decrypted)
}

/// Text with the characters that have a meaning in one of the formats.
fn structured() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        "[a-z]{1,3}",
        prop::sample::select(vec![
            "\n",
            "\n  ",
            "\n    ",
            ": ",
            "- ",
            "---\n",
            "#",
            "; ",
            "[",
            "]",
            "{",
            "}",
            "\"",
            "'",
            "`",
            "\"\"\"",
            "=",
            "\\",
            "\\n",
            ",",
            "&a ",
            "*a",
            "|\n",
            ">-\n",
            "? ",
            "!!str ",
            "<<: ",
            "sops",
            "sops:\n  ",
            "sops_",
            "[sops]\n",
            "__list_0",
            "__map_enc",
            "age",
            "mac",
            "enc",
            "null",
            "1.5",
            "0x1F",
            "2026-01-01",
            "\u{feff}",
            "\u{85}",
            "\r",
            "ENC[AES256_GCM,data:",
            "iv:",
            "tag:",
            "type:str]",
            "type:comment]",
            "AAAA",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(token, 0..60).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in structured()) {
        for sample in SAMPLES.iter() {
            drop(read(sample.format, text.as_bytes(), &sample.key));
        }
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for sample in SAMPLES.iter() {
            drop(read(sample.format, &bytes, &sample.key));
            let mut identities = Identities::default();
            drop(identities.add_age(&bytes));
            drop(identities.add_pgp(&bytes));
        }
    }

    /// A change at any place is refused, or leaves all encrypted values as they were.
    #[test]
    fn change_anywhere_never_changes_an_encrypted_value(
        which in 0..FORMATS.len(),
        at in any::<prop::sample::Index>(),
        length in 0..40_usize,
        inserted in structured(),
    ) {
        let sample = &SAMPLES[which];
        let start = at.index(sample.text.len());
        let end = (start + length).min(sample.text.len());
        let mut text = sample.text.clone();
        text.splice(start..end, inserted.into_bytes());
        if let Ok(decrypted) = read(sample.format, &text, &sample.key) {
            prop_assert!(encrypted(&decrypted) == sample.values);
        }
    }

    /// A single character of a value, nonce, tag or MAC.
    #[test]
    fn changed_character_never_changes_an_encrypted_value(
        which in 0..FORMATS.len(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let sample = &SAMPLES[which];
        let mut text = sample.text.clone();
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(decrypted) = read(sample.format, &text, &sample.key) {
            prop_assert!(encrypted(&decrypted) == sample.values);
        }
    }

    #[test]
    fn truncated_file_is_refused_or_complete(
        which in 0..FORMATS.len(),
        at in any::<prop::sample::Index>(),
    ) {
        let sample = &SAMPLES[which];
        let text = &sample.text[..at.index(sample.text.len())];
        if let Ok(decrypted) = read(sample.format, text, &sample.key) {
            prop_assert!(encrypted(&decrypted) == sample.values);
        }
    }
}
