//! Random files in all formats and with all rules.

use std::fmt::Write as _;

use fastrand::Rng;
use serde_json::{Map, Value as Json, json};

use super::{
    NAMES, assert_same, opened, printed_by,
    program::{Program, age},
};

/// The rules, each with flags that choose about half of the keys.
const RULES: [&[&str]; 9] = [
    &[],
    &["--encrypted-suffix", "_x"],
    &["--unencrypted-suffix", "_x"],
    &["--encrypted-regex", "^k[02468]"],
    &["--unencrypted-regex", "^k[02468]"],
    &["--encrypted-comment-regex", "choose"],
    &["--unencrypted-comment-regex", "choose"],
    &["--encrypted-regex", "^k[02468]", "--mac-only-encrypted"],
    &[
        "--unencrypted-comment-regex",
        "choose",
        "--mac-only-encrypted",
    ],
];

/// Text that has another meaning in one of the formats if it is not quoted or escaped.
const TEXTS: [&str; 39] = [
    "",
    "a",
    "yes",
    "no",
    "true",
    "null",
    "~",
    "1",
    "1_000",
    "007",
    "0x1F",
    "1.50",
    "1e3",
    ".inf",
    "2002-12-14",
    "2026-01-31T12:00:00Z",
    "- a",
    "a: b",
    "a #b",
    "#b",
    "? x",
    "*a",
    "&a",
    "!t",
    " blanks ",
    "l1\nl2\n",
    "\n\nl",
    "\ttab",
    "it's \"quoted\"",
    "back\\slash",
    "\\n",
    "ü🔑",
    "\u{2028}",
    "\u{85}",
    "<&>",
    "ENC[x]",
    "a=b;c",
    "%x@`",
    "\u{7f}",
];

fn text(random: &mut Rng) -> String {
    (0..random.usize(1..=2))
        .map(|_| random.choice(TEXTS).unwrap_or_default())
        .collect()
}

fn key(random: &mut Rng, index: usize) -> String {
    let suffix = random
        .choice(["", "_x", "_unencrypted", ".dot", " y"])
        .unwrap_or_default();
    format!("k{index}{suffix}")
}

fn tree(random: &mut Rng, depth: usize) -> Json {
    match random.u8(0..if depth > 3 { 6 } else { 9 }) {
        0 => json!(random.i32(..)),
        1 => json!(f64::from(random.i32(-1000..1000)) / 8.0),
        2 => json!(random.bool()),
        3 => Json::Null,
        4 | 5 => json!(text(random)),
        6 => (0..random.usize(0..4))
            .map(|_| tree(random, depth + 1))
            .collect(),
        _ => map(random, depth),
    }
}

fn map(random: &mut Rng, depth: usize) -> Json {
    let entries =
        (0..random.usize(0..5)).map(|index| (key(random, index), tree(random, depth + 1)));
    Json::Object(entries.collect::<Map<_, _>>())
}

/// YAML with comments. Scalars are written like JSON, or without quotes if they are on a line of their own.
fn yaml(random: &mut Rng, tree: &Json, indent: usize, lines: &mut String) {
    let Json::Object(entries) = tree else {
        return;
    };
    let blanks = " ".repeat(indent);
    for (key, value) in entries {
        if random.u8(0..3) == 0 {
            let comment = random.choice(["choose", "other"]).unwrap_or_default();
            writeln!(lines, "{blanks}# {comment}").expect("a line");
        }
        let key = json!(key);
        if value.as_object().is_some_and(|map| !map.is_empty()) {
            writeln!(lines, "{blanks}{key}:").expect("a line");
            yaml(random, value, indent + 2, lines);
        } else {
            let plain = value.as_str().filter(|text| is_plain(text));
            let value = plain.map_or_else(|| escaped(value), str::to_owned);
            writeln!(lines, "{blanks}{key}: {value}").expect("a line");
        }
    }
}

/// YAML does not allow these characters without an escape, or takes them for line breaks.
fn escaped(value: &Json) -> String {
    let escapes = [
        ('\u{7f}', "\\u007f"),
        ('\u{85}', "\\u0085"),
        ('\u{2028}', "\\u2028"),
    ];
    escapes
        .iter()
        .fold(value.to_string(), |text, (character, escape)| {
            text.replace(*character, escape)
        })
}

fn is_plain(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || "._:-+".contains(c))
        && !text.ends_with(':')
}

fn dotenv(random: &mut Rng) -> String {
    (0..random.usize(1..8)).fold(String::new(), |mut lines, index| {
        if random.u8(0..3) == 0 {
            lines += random
                .choice(["#choose\n", "# other\n", "\n"])
                .unwrap_or_default();
        }
        let value = text(random).replace('\n', "\\n");
        writeln!(lines, "{}={value}", key(random, index)).expect("a line");
        lines
    })
}

fn ini(random: &mut Rng) -> String {
    let mut lines = String::new();
    for section in 0..random.usize(1..4) {
        if section > 0 {
            writeln!(lines, "[s{section}]").expect("a line");
        }
        for index in 0..random.usize(0..5) {
            if random.u8(0..3) == 0 {
                lines += random
                    .choice(["; choose\n", "# other\n", "\n"])
                    .unwrap_or_default();
            }
            let value = text(random).replace('\\', "/");
            writeln!(lines, "{} = \"\"\"{value}\"\"\"", key(random, index)).expect("a line");
        }
    }
    lines
}

fn plain(name: &str, random: &mut Rng) -> Vec<u8> {
    match name {
        "a.yaml" => {
            let tree = json!({"k0": tree(random, 0), "k1_x": map(random, 0), "k2": map(random, 0)});
            let mut lines = String::new();
            yaml(random, &tree, 0, &mut lines);
            lines.into_bytes()
        }
        "a.json" => json!({"k0": tree(random, 0), "k1_x": map(random, 0)})
            .to_string()
            .into_bytes(),
        "a.env" => dotenv(random).into_bytes(),
        "a.ini" => ini(random).into_bytes(),
        _ => (0..random.usize(1..100)).map(|_| random.u8(..)).collect(),
    }
}

#[test]
#[ignore = "needs sops (tests/cluster/run)"]
fn files_of_sops_are_read_in_all_formats_and_with_all_rules() {
    let program = Program::new();
    let mut read = 0;
    let pairs = RULES
        .iter()
        .flat_map(|rule| NAMES.map(|name| (name, *rule)));
    for (seed, (name, rule)) in (0..).zip(pairs.cycle().take(200)) {
        let mut random = Rng::with_seed(seed);
        let plain = plain(name, &mut random);
        let encrypted = program.encrypt_with_age(name, &plain, rule);
        let what = format!("seed {seed}, {name}, {rule:?}");
        let Some(printed) = printed_by(&program, name) else {
            // sops cannot read all that it writes.
            assert!(opened(name, &encrypted, &age()).is_err(), "{what}");
            continue;
        };
        let decrypted =
            opened(name, &encrypted, &age()).unwrap_or_else(|refused| panic!("{what}: {refused}"));
        assert_same(&decrypted, &printed, &what);
        read += 1;
    }
    assert!(read > 180, "sops reads only {read} of its files");
}
