//! Tests of the template rules, and cases with the results of the operator's own renderer.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

fn rendered(template: &str, data: &[(&str, &str)]) -> Result<String, Failure> {
    let data: Vec<_> = data
        .iter()
        .map(|(key, value)| (*key, value.as_bytes()))
        .collect();
    render_within(template, &data, &Budget::default()).map(|text| String::from_utf8(text).unwrap())
}

fn render_within(
    template: &str,
    data: &[(&str, &[u8])],
    budget: &Budget,
) -> Result<Vec<u8>, Failure> {
    let data = Data::of(data.iter().copied(), budget)?;
    render(template, &data, budget)
}

fn is_unverifiable(template: &str) -> bool {
    matches!(
        rendered(template, &[("a", "x")]),
        Err(Failure::Unverifiable { .. })
    )
}

fn would_fail(template: &str) -> bool {
    matches!(
        rendered(template, &[("a", "x")]),
        Err(Failure::WouldFail { .. })
    )
}

/// A template, its data, and the operator's result (v0.20.4 and v2.9.0): the text, or nothing if it failed.
#[derive(Deserialize)]
struct Case {
    t: String,
    #[serde(default)]
    d: BTreeMap<String, String>,
    /// The text is keys and values.
    #[serde(default)]
    k: bool,
    o: Option<serde_json::Value>,
}

/// Returns our result in the form of a case.
fn result_of(case: &Case) -> Result<serde_json::Value, Failure> {
    let values: Vec<_> = case
        .d
        .iter()
        .map(|(key, value)| (&**key, STANDARD.decode(value).unwrap()))
        .collect();
    let budget = Budget::default();
    let data = Data::of(values.iter().map(|(key, value)| (*key, &**value)), &budget)?;
    if !case.k {
        return Ok(STANDARD.encode(render(&case.t, &data, &budget)?).into());
    }
    let entries = render_keys_and_values(&case.t, &data, &budget)?;
    let entries = entries
        .into_iter()
        .map(|(key, value)| (key, STANDARD.encode(value).into()));
    Ok(serde_json::Value::Object(entries.collect()))
}

#[test]
fn results_match_the_operators_renderer() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("cases.json")).unwrap();
    assert!(cases.len() > 600, "{}", cases.len());
    let mut different = String::new();
    for case in cases {
        let ours = result_of(&case);
        let same = match (&ours, &case.o) {
            (Ok(ours), Some(theirs)) => ours == theirs,
            (Err(Failure::WouldFail { .. }), None) => true,
            _ => false,
        };
        if !same {
            writeln!(different, "{}", case.t).unwrap();
        }
    }
    assert!(different.is_empty(), "{different}");
}

#[test]
fn missing_field_fails_and_missing_index_is_empty() {
    assert_eq!(
        rendered("{{ .nope }}", &[]),
        Err(Failure::fails("the missing key `nope`"))
    );
    assert_eq!(rendered(r#"[{{ index . "nope" }}]"#, &[]).unwrap(), "[]");
}

#[test]
fn numbers_from_json_are_floats() {
    let data = [("a", r#"{"n":12345678,"m":1.50}"#)];
    let template = "{{ (fromJson .a).n }} {{ (fromJson .a).m }} {{ fromJson .a | toJson }}";
    assert_eq!(
        rendered(template, &data).unwrap(),
        r#"1.2345678e+07 1.5 {"m":1.5,"n":12345678}"#
    );
}

#[test]
fn b64dec_of_invalid_input_returns_the_error_text() {
    assert_eq!(
        rendered("{{ b64dec .a }}", &[("a", "a.b")]).unwrap(),
        "illegal base64 data at input byte 1"
    );
}

#[test]
fn functions_without_reproducible_result_are_unverifiable() {
    for name in [
        "now",
        "uuidv4",
        "randAlphaNum 8",
        "htpasswd .a .a",
        "genPrivateKey \"rsa\"",
    ] {
        assert!(is_unverifiable(&format!("{{{{ {name} }}}}")), "{name}");
    }
    assert!(is_unverifiable(r#"{{ keys (dict "a" 1 "b" 2) }}"#));
    assert_eq!(
        rendered(
            r#"{{ keys (dict "b" 1 "a" 2) | sortAlpha | join "," }}"#,
            &[]
        )
        .unwrap(),
        "a,b"
    );
}

#[test]
fn unreached_actions_are_not_evaluated() {
    assert_eq!(
        rendered("{{ if false }}{{ now }}{{ end }}ok", &[]).unwrap(),
        "ok"
    );
}

#[test]
fn unknown_functions_are_named() {
    assert_eq!(
        rendered("{{ frobnicate .a }}", &[("a", "x")]),
        Err(Failure::unverifiable("the function `frobnicate`"))
    );
    for template in [
        r#"{{ define "x" }}a{{ end }}{{ define "x" }}b{{ end }}"#,
        r#"{{ template "x" }}"#,
        "{{ .é }}",
    ] {
        assert!(is_unverifiable(template), "{template}");
    }
}

#[test]
fn failures_never_contain_values() {
    let data = [("a", "hunter2"), ("b", "[")];
    for template in [
        "{{ .a.b }}",
        "{{ regexFind .b .a }}",
        "{{ fail .a }}",
        "{{ mustFromJson .a }}",
        "{{ index .a .a }}",
        "{{ range .a }}{{ end }}",
        "{{ printf .a .a }}",
        "{{ eq .a 1 }}",
    ] {
        let shown = rendered(template, &data).unwrap_err().to_string();
        assert!(!shown.contains("hunter"), "{shown}");
    }
}

#[test]
fn limits_stop_rendering() {
    for template in [
        r#"{{ repeat 1000000000 "a" }}"#,
        "{{ range until 1000000000 }}{{ end }}",
        "{{ range 1000000000 }}{{ end }}",
        "{{ indent 1000000000 .a }}",
        "{{ $x := .a }}{{ range until 100 }}{{ $x = print $x $x }}{{ end }}",
    ] {
        let answered = rendered(template, &[("a", "x")]);
        assert!(matches!(answered, Err(Failure::TooCostly(_))), "{template}");
    }
    for template in [
        "{{ $x := list }}{{ range until 10000 }}{{ $x = list $x }}{{ end }}",
        r#"{{ $x := dict }}{{ $y := set $x "x" $x }}{{ $x }}"#,
        r#"{{ $x := dict }}{{ $y := set $x "x" $x }}{{ toJson $x }}"#,
    ] {
        assert!(is_unverifiable(template), "{template}");
    }
    for (open, close) in [("(", ")"), ("{{if 1}}", "{{end}}"), ("{{else if 1}}", "")] {
        let deep = format!("{}{}", open.repeat(10_000), close.repeat(10_000));
        let template = match open {
            "(" => format!("{{{{ {}1{} }}}}", open.repeat(10_000), close.repeat(10_000)),
            "{{if 1}}" => deep,
            _ => format!("{{{{if 1}}}}{deep}{{{{end}}}}"),
        };
        assert!(is_unverifiable(&template), "{open}");
    }
    let json = "[".repeat(100_000);
    assert!(rendered("{{ fromJson .a }}", &[("a", &json)]).is_err());
}

#[test]
fn recursive_templates_end() {
    let template = r#"{{ define "x" }}{{ template "x" . }}{{ end }}{{ template "x" . }}"#;
    assert!(is_unverifiable(template));
    let deep = MAX_NESTING - 1;
    let body = format!(
        "{}{{{{ template \"x\" }}}}{}",
        "{{if 1}}".repeat(deep),
        "{{end}}".repeat(deep)
    );
    let template = format!("{{{{ define \"x\" }}}}{body}{{{{ end }}}}{{{{ template \"x\" }}}}");
    assert!(is_unverifiable(&template));
}

#[test]
fn maximum_nesting_fits_the_stack() {
    let deep = MAX_NESTING;
    let template = format!("{}x{}", "{{if 1}}".repeat(deep), "{{end}}".repeat(deep));
    assert_eq!(rendered(&template, &[]).unwrap(), "x");
    let template = format!("{{{{ {}1{} }}}}", "(not ".repeat(deep), ")".repeat(deep));
    assert_eq!(rendered(&template, &[]).unwrap(), "true");
}

#[test]
fn syntax_errors_fail() {
    for template in [
        "{{",
        "{{ .a",
        "{{ end }}",
        "{{ if .a }}",
        "{{ $x }}",
        "{{ break }}",
        "{{ \"a }}",
        "{{ . | 1 }}",
    ] {
        assert!(would_fail(template), "{template}");
    }
}

#[test]
fn text_without_actions_is_unchanged() {
    assert_eq!(rendered("a }} b \n", &[]).unwrap(), "a }} b \n");
}

fn entries(template: &str) -> Result<Vec<(String, String)>, Failure> {
    let budget = Budget::default();
    let data = Data::of([("a", &b"x y"[..])], &budget)?;
    let entries = render_keys_and_values(template, &data, &budget)?;
    Ok(entries
        .into_iter()
        .map(|(key, value)| (key, String::from_utf8(value).unwrap()))
        .collect())
}

#[test]
fn plain_keys_and_strings_are_parsed_as_entries() {
    let template =
        "# c\nfile.txt: |\n  one\n    two\n\nplain: {{ .a }}\nquoted: {{ .a | quote }}\n";
    let expected = [
        ("file.txt", "one\n  two\n"),
        ("plain", "x y"),
        ("quoted", "x y"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(entries(template).unwrap(), expected);
}

#[test]
fn yaml_numbers_and_blocks_become_text() {
    let template =
        "octal: 010\nn: key\nf: 1.50\nb: yes\nnothing:\nfolded: >-\n  one\n  two\nlast: |\n  x";
    let expected = [
        ("b", "true"),
        ("f", "1.5"),
        ("false", "key"),
        ("folded", "one two"),
        ("last", "x"),
        ("nothing", ""),
        ("octal", "8"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(entries(template).unwrap(), expected);
    assert!(entries("").unwrap().is_empty());
}

#[test]
fn yaml_that_parsers_read_differently_is_unverifiable() {
    for template in [
        "a: &x 1\nb: *x",
        "a: !!str 1",
        "a: x\na: y",
        "<<: {a: b}",
        "%YAML 1.1\n---\na: b",
        "a: x\n---\nb: y",
        "a: x\r\n",
        "- \tx",
        "{a\n b: c}",
        "{a: x?}",
        "a: \"\\/\"",
        "a: \u{2028}",
        "~: x",
    ] {
        assert!(
            matches!(entries(template), Err(Failure::Unverifiable { .. })),
            "{template}"
        );
    }
}

#[test]
fn yaml_that_is_not_a_map_of_strings_fails() {
    for template in ["a: [x]", "a:\n  b: c", "- x", "x"] {
        assert!(
            matches!(entries(template), Err(Failure::WouldFail { .. })),
            "{template}"
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_templates_do_not_panic(template in r#"(\{\{-? ?|-? ?\}\}|[a-z .$|()"`:=,/*0-9\-\\]|if|end|else|range|with|list|dict|index|\PC){0,40}"#, value in ".*") {
        let answered = render_within(&template, &[("a", value.as_bytes())], &Budget::default());
        prop_assert!(answered.is_ok() || answered.is_err());
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(value in proptest::collection::vec(any::<u8>(), 0..40), template in prop::sample::select(vec![
        "{{ .a | b64dec | quote }}", "{{ fromJson .a | toJson }}", "{{ .a | trim | upper | title }}", "{{ splitList \"\" .a | join .a }}",
        "{{ regexReplaceAll .a .a .a }}", "{{ printf .a .a }}", "{{ substr 1 3 .a }}{{ trunc -2 .a }}", "{{ replace .a .a .a | html | urlquery }}",
        "{{ int .a }}{{ float64 .a }}{{ atoi .a }}",
    ])) {
        let answered = render_within(template, &[("a", &value)], &Budget::default());
        prop_assert!(answered.is_ok() || answered.is_err());
    }
}
