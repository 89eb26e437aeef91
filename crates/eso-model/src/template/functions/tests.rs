//! Every function takes what it works from the budget.

use super::{Function, Parameter, TABLE};
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
