//! The reader of SOPS files against the real sops: it reads what sops encrypts, and refuses what sops refuses.

mod corpus;
pub(crate) mod program;
mod services;
mod tampering;

use std::path::Path;

use serde_json::{Map, Value as Json, json};
use sops::{DataKey, Decrypted, Element, File, Format, Identities, Kind, Member, Node, Refused};

use self::program::Program;

/// Names of files, by which sops chooses the format.
const NAMES: [&str; 5] = ["a.yaml", "a.json", "a.env", "a.ini", "a.bin"];

fn format(name: &str) -> Format {
    Format::of(Path::new(name))
}

/// Opens the file with the private keys of the program.
fn opened(name: &str, text: &[u8], identities: &Identities) -> Result<Decrypted, Refused> {
    let file = File::parse(format(name), text)?;
    let key: DataKey = file.data_key(identities, &[])?;
    file.decrypt(&key)
}

/// What sops prints for a file, in a form that can be compared: YAML is printed as JSON.
fn printed_by(program: &Program, name: &str) -> Option<Vec<u8>> {
    let as_json: &[&str] = if format(name) == Format::Yaml {
        &["--output-type", "json"]
    } else {
        &[]
    };
    let output = program.run(&[&["--decrypt"], as_json, &[name]].concat());
    output.status.success().then_some(output.stdout)
}

/// Compares a decrypted file with what sops printed.
fn assert_same(decrypted: &Decrypted, printed: &[u8], what: &str) {
    if decrypted.format == Format::Yaml {
        let printed: Json = serde_json::from_slice(printed).expect("JSON");
        let first = decrypted.documents.first().expect("a document");
        assert!(map(first) == printed, "{what}: another tree");
    } else {
        let text = decrypted.text().expect(what);
        assert!(text.expose() == printed, "{what}: another text");
    }
}

fn map(members: &[Member]) -> Json {
    let entries = members.iter().filter_map(|member| match member {
        Member::Entry(key, node) => Some((key.clone(), tree(node))),
        Member::Comment(_) => None,
    });
    Json::Object(entries.collect::<Map<_, _>>())
}

fn tree(node: &Node) -> Json {
    match node {
        Node::Map(members) => map(members),
        Node::List(elements) => elements
            .iter()
            .filter_map(|element| match element {
                Element::Value(node) => Some(tree(node)),
                Element::Comment(_) => None,
            })
            .collect(),
        Node::Scalar(scalar) => {
            let text = String::from_utf8_lossy(scalar.value.expose());
            match scalar.kind {
                Kind::Null => Json::Null,
                Kind::Text | Kind::Time | Kind::Bytes => json!(text),
                Kind::Bool => json!(text == "true"),
                Kind::Int => json!(text.parse::<i64>().expect("an integer")),
                Kind::Float => number(&text),
            }
        }
    }
}

/// JSON has no integers of its own: sops prints 1.0 as 1.
fn number(text: &str) -> Json {
    let value: f64 = text.parse().expect("a number");
    let printed = serde_json::from_str::<Json>(&value.to_string()).expect("a number");
    if value.fract() == 0.0 && value.abs() < 1e15 {
        printed
    } else {
        json!(value)
    }
}
