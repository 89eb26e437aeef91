//! The contents of the generated remote secrets, and the properties, rewrites and templates that use them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::Source;

/// Texts that have caused errors before.
const TEXTS: [&str; 22] = [
    "plain",
    "",
    " a space at both ends ",
    "line one\nline two\n\tindented\r\n",
    "päßwörd ✓ 日本 🦀",
    "<a href=\"x\">&'\\",
    "dGVzdA==",
    "password",
    "YR==",
    "_-8=",
    "1.50",
    "0x1F",
    "1e3",
    "true",
    "null",
    "~",
    "- a: b # no comment",
    "{\"a\": 1.50, \"b\": [true, null, {\"c\": \"<d>\"}], \"n\": 12345678901234567890}",
    "[1, 2.0, \"x\"]",
    "{\"broken\": ",
    "{{ not a template }}",
    "\u{2028}\u{7f}",
];

/// Bytes that are not UTF-8. Only a Kubernetes Secret can hold them.
const BINARY: [&[u8]; 4] = [b"\x00\xff\n\x80", b"\xc3\x28", b"\x00", b"a\xed\xa0\x80z"];

/// Numbers in different notations.
const NUMBERS: [&str; 10] = [
    "1.50",
    "1e3",
    "1E-7",
    "0",
    "-0.0",
    "12345678901234567890",
    "1.0",
    "1e21",
    "0.1",
    "9007199254740993",
];

/// Member names of a secret; those that are valid Kubernetes keys come first.
const MEMBERS: [&str; 9] = [
    "text",
    "json.txt",
    "num",
    "nest",
    "list",
    "UP.per",
    "with space",
    "sl/ash",
    "ümlaut",
];
const VALID: usize = 6;

/// The values of `property`.
pub(super) const PROPERTIES: [&str; 15] = [
    "text",
    "text",
    "text",
    "num",
    "nest",
    "nest.a",
    "nest.b.0",
    "list.1",
    "list.#",
    "json.txt",
    "UP.per",
    "absent",
    "with space",
    "json.txt.a",
    "bin",
];

pub(super) const REWRITES: [[&str; 2]; 9] = [
    ["(.*)", "pre_$1"],
    ["[^a-zA-Z0-9 -]", "_"],
    ["^(te)(xt)$", "${2}-$1"],
    ["\\.", "-"],
    ["\\W", "_"],
    ["(?i)up", "down"],
    ["^num$", "number"],
    ["[[:upper:]]+", "u"],
    ["\\s|/", "."],
];

/// Templates that use the keys of the cases' `data` and `dataFrom`. A missing key makes the operator fail, which is also
/// a valid case.
pub(super) const TEMPLATES: [&str; 50] = [
    "{{ .text }}",
    "a-{{ .text | upper }}-z",
    "{{ .k0 }}",
    "{{ .k1 | b64enc }}",
    "{{ index . \"json.txt\" }}",
    "{{ range $k, $v := . }}{{ $k }}={{ $v | b64enc }};{{ end }}",
    "{{- range $k, $v := . -}}\n{{ $k | quote }}: {{ $v | quote }}\n{{ end -}}",
    "{{ if .text }}yes{{ else }}no{{ end }}",
    "{{ if hasKey . \"text\" }}has{{ end }}{{ if not (hasKey . \"none\") }} not{{ end }}",
    "{{ .text | trim | replace \"a\" \"b\" | squote }}",
    "{{ .text | sha256sum }}",
    "{{ .text | b64enc | b64dec }}",
    "{{ . | toJson }}",
    "{{ dict \"user\" \"u\" \"pass\" .text | toJson }}",
    "{{ (dict \"auths\" (dict \"r.example\" (dict \"auth\" (printf \"%s:%s\" \"u\" .text | b64enc)))) | toJson | b64enc }}",
    "{{ $x := .text }}{{ $x }}{{ $x = \"other\" }}{{ $x }}",
    "{{/* a comment */}}{{ len .text }}",
    "{{ printf \"%-10s|%5d|%q\" .text 42 .text }}",
    "{{ .text | splitList \" \" | join \",\" }}",
    "{{ with .text }}{{ . | title }}{{ end }}",
    "{{ .nest | fromJson | toJson }}",
    "{{ (.nest | fromJson).a }}",
    "{{ range (.list | fromJson) }}<{{ . }}>{{ end }}",
    "{{ .num }}",
    "{{ .num | atoi | add 1 }}",
    "{{ .text | default \"nothing\" }}",
    "{{ .text | nindent 4 }}",
    "{{ .text | trunc 3 }}{{ .text | trunc -3 }}",
    "{{ .text | regexReplaceAll \"[aeiou]\" \"*\" }}",
    "{{ and .text \"b\" }}{{ or \"\" .text }}",
    "{{ eq .text \"plain\" | ternary \"t\" \"f\" }}",
    "{{ .absent }}",
    "{{ .text | toYaml }}",
    "{{ now | date \"2006\" }}",
    "{{ randAlphaNum 5 }}",
    "no template at all",
    "",
    "{{ .text | html }}{{ .text | urlquery }}",
    "{{ . | toYaml }}",
    "{{ .nest | fromYaml | toYaml }}",
    "{{ .text | snakecase }}|{{ .text | kebabcase }}|{{ .text | swapcase }}|{{ .text | initials }}",
    "{{ .text | wrap 8 }}|{{ .text | wrapWith 5 \"-\" }}|{{ .text | abbrev 9 }}",
    "{{ .text | base }}|{{ .text | dir }}|{{ .text | clean }}|{{ .text | ext }}",
    "{{ .num | int }} {{ .num | float64 }} {{ round .num 1 }} {{ addf .num 0.1 }}",
    "{{ date \"2006-01-02T15:04:05Z07:00\" 1700000000 }} {{ toDate \"2006-01-02\" \"2024-02-29\" | unixEpoch }}",
    "{{ urlParse (printf \"https://u:p@h.example:8080/%s?q=1\" (.text | b32enc)) | urlJoin }}",
    "{{ semverCompare \"^1.2\" \"1.4.0\" }} {{ (semver \"v1.2.3-rc.1\").Prerelease }}",
    "{{ define \"part\" }}<{{ . }}>{{ end }}{{ template \"part\" .text }}{{ block \"more\" .num }}[{{ . }}]{{ end }}",
    "{{ .text | b32enc | b32dec }}",
    "{{ dict \"a\" .text \"b\" (list .num .text) | toYaml | nindent 2 }}",
];

pub(super) const LITERALS: [&str; 6] = [
    "from: literal\nother: \"1.50\"\n",
    "up: {{ .text | upper | quote }}\n",
    "{{ range $k, $v := . }}lit-{{ $k | lower | replace \" \" \"\" | replace \"/\" \"\" }}: {{ $v | b64enc | quote }}\n{{ end }}",
    "number: 5\n",
    "n: 010\nfloat: 1.50\non: yes\nblock: |\n  {{ .num }}\nfolded: >-\n  a\n  b\nnothing:\n",
    "# comment\nquoted: '{{ .num }}'\nlist: \"[1, 2]\"",
];

/// Returns a secret in the format of this source.
pub(super) fn secret(source: Source, rng: &mut Rng) -> String {
    match source {
        Source::Fake if rng.u8(..5) == 0 => text(rng).to_owned(),
        Source::Fake | Source::Vault => object(rng),
        Source::Kubernetes => {
            let members = MEMBERS.iter().take(VALID);
            let mut members: Map<String, Value> = members
                .map(|name| {
                    (
                        (*name).to_owned(),
                        json!(STANDARD.encode(raw(name, rng, true))),
                    )
                })
                .collect();
            let bytes = rng.choice(&BINARY).expect("not empty");
            members.insert("bin".to_owned(), json!(STANDARD.encode(bytes)));
            Value::Object(members).to_string()
        }
    }
}

/// A JSON object, formatted by hand to keep the numbers and spaces unchanged.
fn object(rng: &mut Rng) -> String {
    let count = rng.usize(4..=MEMBERS.len());
    let members: Vec<String> = MEMBERS
        .iter()
        .take(count)
        .map(|name| {
            format!(
                "{}:{}{}",
                json!(name),
                [" ", ""][rng.usize(..2)],
                raw(name, rng, false)
            )
        })
        .collect();
    format!("{{{}}}", members.join(", "))
}

/// A member as JSON or, if `bare`, as the value of a Kubernetes Secret.
fn raw(name: &str, rng: &mut Rng, bare: bool) -> String {
    match name {
        "num" => (*rng.choice(&NUMBERS).expect("not empty")).to_owned(),
        "nest" => format!(
            "{{\"b\": [{}, null], \"a\":  \"<x>\"}}",
            rng.choice(&NUMBERS).expect("not empty")
        ),
        "list" => "[1.0, \"two\", {\"z\":1, \"a\":2}]".to_owned(),
        _ if bare => text(rng).to_owned(),
        "UP.per" if rng.u8(..3) == 0 => "null".to_owned(),
        _ => json!(text(rng)).to_string(),
    }
}

fn text(rng: &mut Rng) -> &'static str {
    rng.choice(&TEXTS).copied().expect("not empty")
}
