//! The text of a decrypted file, exactly as `sops decrypt` writes it.

mod ini;
mod json;

use secret::{Buffer, Value};

use crate::{
    Decrypted, Format,
    refusal::{Reason, Refused},
    tree::{Kind, Member, Node},
};

pub(crate) fn text(decrypted: &Decrypted) -> Result<Value, Refused> {
    let [document] = decrypted.documents.as_slice() else {
        return Err(Reason::NoExactText.into());
    };
    let mut text = Buffer::default();
    match decrypted.format {
        // The notation of YAML depends on the library that writes it.
        Format::Yaml => Err(Reason::NoExactText),
        Format::Json => json::write(document, &mut text),
        Format::Dotenv => dotenv(document, &mut text),
        Format::Ini => ini::write(document, &mut text),
        Format::Binary => binary(document, &mut text),
    }?;
    Ok(text.finish())
}

fn binary(document: &[Member], text: &mut Buffer) -> Result<(), Reason> {
    match document {
        [Member::Entry(_, Node::Scalar(scalar))] => {
            text.push(scalar.value.expose());
            Ok(())
        }
        _ => Err(Reason::NoExactText),
    }
}

fn dotenv(document: &[Member], text: &mut Buffer) -> Result<(), Reason> {
    for member in document {
        match member {
            Member::Comment(comment) => {
                text.push(b"#");
                text.push(comment.text.expose());
            }
            Member::Entry(key, Node::Scalar(scalar)) if scalar.kind == Kind::Text => {
                text.push(key.as_bytes());
                text.push(b"=");
                for (index, line) in scalar
                    .value
                    .expose()
                    .split(|byte| *byte == b'\n')
                    .enumerate()
                {
                    if index > 0 {
                        text.push(b"\\n");
                    }
                    text.push(line);
                }
            }
            Member::Entry(..) => return Err(Reason::NoExactText),
        }
        text.push(b"\n");
    }
    Ok(())
}
