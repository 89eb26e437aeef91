//! Every function takes what it works from the budget.

use super::{Function, Parameter, TABLE, exists, names};
use crate::{
    budget::{Budget, Limits},
    template::{Data, render},
};

/// The number of bytes of each text in a call.
const BYTES: usize = 3000;

/// A call of the function whose texts are all `.a`, and their number.
fn call(function: &Function) -> (String, usize) {
    let mut call = format!("{{{{ {}", function.name);
    let mut texts = 0;
    for parameter in function.fixed.iter().chain(&function.rest) {
        call.push_str(match parameter {
            Parameter::Any | Parameter::Text => {
                texts += 1;
                " .a"
            }
            Parameter::Int => " 1",
            Parameter::Float => " 1.5",
            Parameter::ConstantText => " \"a\"",
            Parameter::Time => " (toDate \"2006-01-02\" \"2026-03-01\")",
            Parameter::Bool => " true",
            Parameter::Map => " (dict 1 2)",
        });
    }
    call.push_str(" }}");
    (call, texts)
}

/// Returns the work of rendering the template. Whether the function accepts the text does not matter.
fn work(template: &str, bytes: usize) -> u64 {
    let limits = Limits {
        work: u64::MAX,
        ..Limits::default()
    };
    let budget = Budget::new(limits);
    let text = "a".repeat(bytes);
    let data = Data::of([("a", text.as_bytes())], &budget).unwrap();
    let before = budget.left();
    let _answered = render(template, &data, &budget);
    before.work - budget.left().work
}

#[test]
fn every_function_charges_for_the_bytes_it_reads() {
    assert!(TABLE.len() > 140, "{}", TABLE.len());
    for function in TABLE.values() {
        let (template, texts) = call(function);
        let used = work(&template, BYTES);
        assert!(used > 128, "`{template}` does not charge for the call");
        if matches!(function.name, "and" | "or") {
            // They return an argument and read none.
            continue;
        }
        let least = u64::try_from(texts * BYTES).unwrap();
        assert!(used >= least, "`{template}`: {used} of {least}");
    }
}

#[test]
fn every_iteration_charges() {
    for template in [
        "{{ range $i := until 1000 }}{{ end }}",
        "{{ range 1000 }}{{ end }}",
        "{{ range splitList \"\" (repeat 1000 \"a\") }}{{ end }}",
        "{{ range (printf \"[%s1]\" (repeat 999 \"1,\") | fromJson) }}{{ end }}",
        "{{ uniq (until 50) }}",
        "{{ has 1000 (until 1000) }}",
        "{{ until 1000 | join \"\" }}",
        "{{ regexReplaceAll \"a\" (repeat 1000 \"a\") \"\" }}",
        "{{ regexFindAll \"a\" (repeat 1000 \"a\") -1 }}",
        "{{ replace \"a\" \"\" (repeat 1000 \"a\") }}",
    ] {
        assert!(work(template, 1) > 128 * 1000, "{template}");
    }
}

/// All functions of the operators v0.20.4 and v2.9.0: Go's own, those of sprig, and the operator's.
const OPERATOR: &str = "\
    abbrev abbrevboth add add1 add1f addf adler32sum ago all and any append atoi b32dec b32enc b64dec b64enc base \
    bcrypt biggest buildCustomCert call camelcase cat ceil certSANs chunk clean coalesce compact concat contains date \
    dateInZone dateModify date_in_zone date_modify decryptAES deepCopy deepEqual default derivePassword dict dig dir \
    div divf duration durationRound empty encryptAES eq ext fail filterCertChain filterPEM first float64 floor \
    fromJson fromYaml fullPemToPkcs12 fullPemToPkcs12Pass ge genCA genCAWithKey genPrivateKey genSelfSignedCert \
    genSelfSignedCertWithKey genSignedCert genSignedCertWithKey get getHostByName getSecretKey gt has hasKey \
    hasPrefix hasSuffix hello hexdec html htmlDate htmlDateInZone htpasswd indent index initial initials int int64 \
    isAbs join js jwkPrivateKeyPem jwkPublicKeyPem kebabcase keys kindIs kindOf last le len list lower lt max maxf \
    merge mergeOverwrite min minf mod mul mulf mustAppend mustChunk mustCompact mustDateModify mustDeepCopy mustFirst \
    mustFromJson mustHas mustInitial mustLast mustMerge mustMergeOverwrite mustPrepend mustPush mustRegexFind \
    mustRegexFindAll mustRegexMatch mustRegexReplaceAll mustRegexReplaceAllLiteral mustRegexSplit mustRest mustReverse \
    mustSlice mustToDate mustToJson mustToPrettyJson mustToRawJson mustUniq mustWithout must_date_modify ne nindent \
    nospace not now omit or osBase osClean osDir osExt osIsAbs pemToPkcs12 pemToPkcs12Pass pemTruststoreToPKCS12 \
    pemTruststoreToPKCS12Pass pick pkcs12cert pkcs12certPass pkcs12key pkcs12keyPass pluck plural prepend print printf \
    println push quote randAlpha randAlphaNum randAscii randBytes randInt randNumeric regexFind regexFindAll \
    regexMatch regexQuoteMeta regexReplaceAll regexReplaceAllLiteral regexSplit repeat replace rest reverse round \
    rsaDecrypt semver semverCompare seq set sha1sum sha256sum sha512sum shuffle slice snakecase sortAlpha split \
    splitList splitn squote sub subf substr swapcase ternary title toDate toDecimal toJson toPrettyJson toRawJson \
    toString toStrings toYaml trim trimAll trimPrefix trimSuffix trimall trunc tuple typeIs typeIsLike typeOf uniq \
    unixEpoch unset until untilStep untitle upper urlJoin urlParse urlquery uuidv4 values without wrap wrapWith";

#[test]
fn every_function_of_the_operator_is_classified() {
    for name in OPERATOR.split_whitespace() {
        assert!(
            exists(name),
            "{name} is neither computed nor named as unverifiable"
        );
    }
    for name in names::NOT_REPRODUCIBLE.iter().chain(names::NOT_COMPARED) {
        assert!(!TABLE.contains_key(name), "{name} is computed");
    }
}

#[test]
fn every_function_that_is_not_computed_is_documented() {
    let docs = include_str!("../../../../../docs/how-it-works.md");
    for name in names::NOT_REPRODUCIBLE.iter().chain(names::NOT_COMPARED) {
        assert!(
            docs.contains(&format!("`{name}`")),
            "{name} is not in docs/how-it-works.md"
        );
    }
}
