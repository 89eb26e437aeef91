//! INI as gopkg.in/ini.v1 writes it: keys of a section are aligned.

use secret::Buffer;

use crate::{
    refusal::Reason,
    source::DEFAULT_SECTION,
    tree::{Comment, Kind, Member, Node, Scalar},
};

pub(super) fn write(document: &[Member], text: &mut Buffer) -> Result<(), Reason> {
    for (index, member) in document.iter().enumerate() {
        let Member::Entry(name, Node::Map(members)) = member else {
            return Err(Reason::NoExactText);
        };
        let is_default = index == 0 && name.eq_ignore_ascii_case(DEFAULT_SECTION);
        let members = match members.split_first() {
            Some((Member::Comment(comment), rest)) => {
                self::comment(comment, text)?;
                rest
            }
            _ => members,
        };
        if !is_default {
            text.push(b"[");
            text.push(name.as_bytes());
            text.push(b"]\n");
        } else if members.is_empty() {
            continue;
        }
        section(members, text)?;
        if index + 1 < document.len() {
            text.push(b"\n");
        }
    }
    Ok(())
}

fn section(members: &[Member], text: &mut Buffer) -> Result<(), Reason> {
    let widths = members.iter().filter_map(|member| match member {
        Member::Entry(key, _) => Some(quoted_key(key).len()),
        Member::Comment(_) => None,
    });
    let width = widths.max().unwrap_or_default();
    for (index, member) in members.iter().enumerate() {
        match (member, members.get(index + 1)) {
            // Written before the key that it follows in the tree.
            (Member::Comment(_), Some(Member::Comment(_))) => return Err(Reason::NoExactText),
            (Member::Comment(_), _) => {}
            (Member::Entry(key, Node::Scalar(scalar)), next) => {
                if let Some(Member::Comment(comment)) = next {
                    self::comment(comment, text)?;
                }
                let key = quoted_key(key);
                text.push(key.as_bytes());
                (key.len()..width).for_each(|_| text.push(b" "));
                text.push(b" = ");
                value(scalar, text)?;
                text.push(b"\n");
            }
            (Member::Entry(..), _) => return Err(Reason::NoExactText),
        }
    }
    Ok(())
}

fn quoted_key(key: &str) -> String {
    if key.contains(['"', '=', ':']) {
        format!("`{key}`")
    } else if key.contains('`') {
        format!("\"\"\"{key}\"\"\"")
    } else {
        key.to_owned()
    }
}

fn value(scalar: &Scalar, text: &mut Buffer) -> Result<(), Reason> {
    // SOPS reads only text from INI.
    let value = std::str::from_utf8(scalar.value.expose()).map_err(|_| Reason::NoExactText)?;
    if scalar.kind != Kind::Text {
        return Err(Reason::NoExactText);
    }
    let quote = if value.contains(['\n', '`']) {
        "\"\"\""
    } else if value.contains(['#', ';']) {
        "`"
    } else if value.trim().len() != value.len() {
        "\""
    } else {
        ""
    };
    for part in [quote, value, quote] {
        text.push(part.as_bytes());
    }
    Ok(())
}

/// Each line of a comment has its mark.
fn comment(comment: &Comment, text: &mut Buffer) -> Result<(), Reason> {
    let lines = std::str::from_utf8(comment.text.expose()).map_err(|_| Reason::NoExactText)?;
    for line in lines.split('\n') {
        let (mark, rest) = match line.chars().next() {
            Some('#') => ("# ", line.get(1..)),
            Some(';') => ("; ", line.get(1..)),
            Some(_) => ("; ", Some(line)),
            None => return Err(Reason::NoExactText),
        };
        text.push(mark.as_bytes());
        text.push(rest.unwrap_or_default().trim().as_bytes());
        text.push(b"\n");
    }
    Ok(())
}
