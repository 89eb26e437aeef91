//! Changed files: what sops refuses is refused, and what it accepts is read in the same way or refused for a reason that the README
//! of the crate lists.

use std::{collections::BTreeMap, fs};

use sops::{Decrypted, Member, Node, Reason};

use super::{
    NAMES, assert_same, opened, printed_by,
    program::{Program, age, key_file},
};

/// Where the reader is stricter than sops.
const STRICTER: [Reason; 12] = [
    Reason::DuplicateKey,
    Reason::NotJson,
    Reason::NotYaml,
    Reason::NotIni,
    Reason::NotBinary,
    Reason::MalformedValue,
    Reason::InvalidMetadata,
    Reason::UnsupportedValue,
    Reason::UnknownType,
    Reason::YamlAlias,
    Reason::NoRecipients,
    Reason::InvalidRule,
];

/// True for a line of an encrypted data key.
fn is_armour(line: &str) -> bool {
    let line = line.trim();
    line.len() == 64 && !line.contains([' ', ':', '['])
}

/// Changes of one line, and the whole file cut after it.
fn changes(text: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let joined = |lines: Vec<&str>| lines.join("\n") + "\n";
    let mut changes = Vec::new();
    for index in 0..lines.len() {
        if is_armour(lines[index]) {
            // Every change of it has the same effect.
            continue;
        }
        let mut without = lines.clone();
        without.remove(index);
        changes.push((format!("without line {index}"), joined(without)));
        let mut twice = lines.clone();
        twice.insert(index, lines[index]);
        changes.push((format!("line {index} twice"), joined(twice)));
        let mut swapped = lines.clone();
        swapped.swap(index, (index + 1) % lines.len());
        changes.push((format!("line {index} swapped"), joined(swapped)));
        changes.push((
            format!("cut after line {index}"),
            joined(lines[..=index].to_vec()),
        ));
        let mut other = lines.clone();
        let damaged = lines[index].replacen("data:", "data:A", 1);
        other[index] = &damaged;
        changes.push((format!("another value in line {index}"), joined(other)));
        let mut value = lines.clone();
        let moved = with_value_of(lines[index], lines[(index + 1) % lines.len()]);
        value[index] = &moved;
        changes.push((format!("the next value in line {index}"), joined(value)));
    }
    changes
}

/// The line with the encrypted value of another one.
fn with_value_of(line: &str, other: &str) -> String {
    let span = |line: &str| Some(line.find("ENC[")?..=line.rfind(']')?);
    match (span(line), span(other)) {
        (Some(to), Some(from)) => {
            let mut line = line.to_owned();
            line.replace_range(to, &other[from]);
            line
        }
        _ => line.to_owned(),
    }
}

/// True if a comment looks encrypted, but was not decrypted.
fn has_sealed_comment(decrypted: &Decrypted) -> bool {
    fn is_sealed(member: &Member) -> bool {
        match member {
            Member::Comment(comment) => comment.text.expose().starts_with(b"ENC["),
            Member::Entry(_, Node::Map(members)) => members.iter().any(is_sealed),
            Member::Entry(..) => false,
        }
    }
    decrypted.documents.iter().flatten().any(is_sealed)
}

#[test]
#[ignore = "needs sops (tests/cluster/run)"]
fn changed_files_are_refused_like_by_sops_or_for_a_listed_reason() {
    let program = Program::new();
    let mut accepted = 0;
    let mut stricter: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, rule) in NAMES
        .map(|name| (name, &[] as &[&str]))
        .into_iter()
        .chain([(
            "a.yaml",
            &["--mac-only-encrypted", "--encrypted-regex", "e"] as &[&str],
        )])
    {
        let source = name.replace("a.", "plain/all.");
        let mut plain = fs::read(key_file(&source)).expect("a file");
        if name == "a.yaml" {
            // JSON, in which sops prints the tree, has no infinity.
            let text = String::from_utf8(plain).expect("UTF-8");
            plain = text.replace(".inf", "1").into_bytes();
        }
        let encrypted = program.encrypt_with_age(name, &plain, rule);
        let text = String::from_utf8(encrypted).expect("UTF-8");
        for (what, changed) in changes(&text) {
            let what = format!("{name}, {what}");
            program.write(name, &changed);
            let printed = printed_by(&program, name);
            match (printed, opened(name, changed.as_bytes(), &age())) {
                (None, Err(_)) => {}
                (None, Ok(_)) => panic!("{what}: accepted, but sops refuses it"),
                // sops decrypts a comment although more text follows it. The MAC covers no comments.
                (Some(_), Ok(decrypted)) if has_sealed_comment(&decrypted) => {}
                (Some(printed), Ok(decrypted)) => {
                    accepted += 1;
                    assert_same(&decrypted, &printed, &what);
                }
                (Some(_), Err(refused)) => {
                    *stricter.entry(refused.reason.word()).or_default() += 1;
                    let listed = STRICTER.contains(&refused.reason);
                    assert!(listed, "{what}: sops accepts it, but: {refused}");
                }
            }
        }
    }
    assert!(accepted > 0, "no change was harmless");
    assert!(!stricter.is_empty(), "never stricter than sops");
}
