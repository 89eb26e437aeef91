//! Compares the functions with those of the operator, and holds what is left out.

use std::{collections::BTreeMap, fmt::Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::{
    budget::{Budget, Limits, TooCostly},
    template::{Data, Failure, render},
};

/// Files of openssl, and what the operator made of them.
#[derive(Deserialize)]
struct Cases {
    /// Values in base64 that cases refer to.
    values: BTreeMap<String, String>,
    cases: Vec<Case>,
}

/// A template, its data, and the operator's result (v0.20.4; `certSANs` v2.9.0), or nothing if it failed.
#[derive(Deserialize)]
struct Case {
    t: String,
    d: BTreeMap<String, String>,
    o: Option<String>,
}

impl Cases {
    fn read() -> Self {
        serde_json::from_str(include_str!("cases.json")).unwrap()
    }

    fn value(&self, of: &str) -> Vec<u8> {
        let encoded = self.values.get(of).map_or(of, |value| value);
        STANDARD.decode(encoded).unwrap()
    }

    fn render(&self, case: &Case, budget: &Budget) -> Result<Vec<u8>, Failure> {
        let values = case.d.iter();
        let values: Vec<_> = values.map(|(key, of)| (&**key, self.value(of))).collect();
        let data = Data::of(values.iter().map(|(key, value)| (*key, &**value)), budget)?;
        render(&case.t, &data, budget)
    }

    /// The first case of this function that has a result.
    fn example(&self, function: &str) -> &Case {
        let mut cases = self.cases.iter();
        let example = cases.find(|case| case.o.is_some() && case.t.contains(function));
        example.unwrap_or_else(|| panic!("no case of {function}"))
    }
}

/// All functions of this module.
fn functions() -> impl Iterator<Item = &'static str> {
    super::TABLE.iter().map(|function| function.name)
}

#[test]
fn results_match_the_operators() {
    let cases = Cases::read();
    assert!(cases.cases.len() > 200, "{}", cases.cases.len());
    let mut different = String::new();
    for (place, case) in cases.cases.iter().enumerate() {
        let ours = cases.render(case, &Budget::default());
        let theirs = case.o.as_ref().map(|of| cases.value(of));
        let same = match (&ours, &theirs) {
            (Ok(ours), Some(theirs)) => ours == theirs,
            (Err(Failure::WouldFail { .. }), None) => true,
            _ => false,
        };
        if !same {
            let failure = ours.err().map(|failure| failure.to_string());
            let failure = failure.unwrap_or_else(|| "another result".to_owned());
            writeln!(different, "case {place}: {}: {failure}", case.t).unwrap();
        }
    }
    assert!(different.is_empty(), "{different}");
    for function in functions() {
        cases.example(&format!(" {function} "));
    }
}

/// Returns the result for a text.
fn rendered(template: &str, a: &str) -> Result<Vec<u8>, Failure> {
    let budget = Budget::default();
    let data = Data::of([("a", a.as_bytes())], &budget)?;
    render(template, &data, &budget)
}

#[test]
fn pem_that_versions_of_go_read_differently_is_unverifiable() {
    for text in [
        "x-----BEGIN A-----\nAAAA\n-----END A-----\n",
        "-----BEGIN A-----\n-----BEGIN A-----\nAAAA\n-----END A-----\n",
        "-----END A-----\n-----BEGIN A-----\nAAAA\n-----END A-----\n",
        "-----BEGIN A-----\n-----END A-----\n",
        "-----BEGIN A-----\nAAAA\n-----END B-----\n",
        "-----BEGIN A-----\nA?AA\n-----END A-----\n",
        "-----BEGIN A-----\nAAAA-----END A-----\n",
        "-----BEGIN A-----\nAAAA\n",
        "-----BEGIN A-----",
        "-----BEGIN A\nAAAA\n-----END A-----\n",
        "-----BEGIN -----\nAAAA\n-----END -----\n",
        "-----BEGIN A-----\nk\u{e9}: v\n\nAAAA\n-----END A-----\n",
    ] {
        let answer = rendered("{{ filterPEM \"A\" .a }}", text);
        assert!(
            matches!(answer, Err(Failure::Unverifiable { .. })),
            "{text}"
        );
    }
}

#[test]
fn keys_that_were_not_compared_are_unverifiable() {
    for key in [
        r#"{"kty":"EC","crv":"secp256k1","x":"AAAA","y":"AAAA"}"#,
        r#"{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}"#,
        r#"{"kty":"RSA","n":"AAAA","e":"AQAB"}"#,
        r#"{"kty":"RSA","n":"AQAB","e":"AQAB","N":1,"Kty":"EC"}"#,
        r#"{"kty":"RSA","n":"AQAB","n":"AQAB","e":"AQAB"}"#,
        r#"{"kty":"RSA","n":"AQAB","e":"AQAB","x5c":["AAAA"]}"#,
        r#"{"kty":"RSA","n":"A\u0041AB","e":"AQAB"}"#,
        r#"{"kty":"OKP","crv":"Ed448","x":"AAAA"}"#,
        "",
        "[]",
    ] {
        let answer = rendered("{{ jwkPublicKeyPem .a }}", key);
        assert!(matches!(answer, Err(Failure::Unverifiable { .. })), "{key}");
    }
}

#[test]
fn key_derivation_takes_its_iterations_from_the_budget() {
    let cases = Cases::read();
    let work = |function| {
        let budget = Budget::default();
        let before = budget.left().work;
        cases.render(cases.example(function), &budget).unwrap();
        before - budget.left().work
    };
    // The MAC, the key and the certificate have 2048 iterations each.
    assert!(work("pkcs12key ") > 3 * 2048 * 256);
    assert!(work("pkcs12certPass ") > 3 * 2048 * 256);
}

#[test]
fn a_long_key_derivation_is_too_costly() {
    let cases = Cases::read();
    let case = cases.example("pkcs12key ");
    let (_, of) = case.d.first_key_value().unwrap();
    let mut file = cases.value(of);
    let iterations = file.last_chunk_mut::<4>().unwrap();
    assert_eq!(*iterations, [2, 2, 8, 0], "2048");
    *iterations = [2, 2, 0x7f, 0xff];
    let limits = Limits {
        work: 32 << 20,
        ..Limits::default()
    };
    let budget = Budget::new(limits);
    cases.render(case, &budget).unwrap();
    let data = Data::of([("a", &*file)], &budget).unwrap();
    let answer = render(&case.t, &data, &budget);
    assert_eq!(answer, Err(Failure::TooCostly(TooCostly::Work)));
}

#[test]
fn rsa_takes_its_work_from_the_budget() {
    let cases = Cases::read();
    let case = cases.example("rsaDecrypt \"RSA-OAEP\"");
    let budget = Budget::default();
    let before = budget.left().work;
    cases.render(case, &budget).unwrap();
    assert!(before - budget.left().work > 4_000_000);
}

#[test]
fn failures_never_contain_values() {
    let cases = Cases::read();
    for case in cases.cases.iter().filter(|case| case.o.is_none()) {
        let shown = cases
            .render(case, &Budget::default())
            .unwrap_err()
            .to_string();
        assert!(shown.len() < 120 && shown.is_ascii(), "{shown}");
        for of in case.d.values() {
            let value = String::from_utf8_lossy(&cases.value(of)).into_owned();
            assert!(value.len() < 12 || !shown.contains(&*value), "{shown}");
        }
    }
}
