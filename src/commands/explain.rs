//! `explain`: explains a word of a report, an exit code or a policy key. Needs no cluster.

use crate::{exit::Exit, explain, failure::Failure, foreign, output::print};

pub(super) fn explain(words: &[String]) -> Result<Exit, Failure> {
    let word = words.join(" ");
    let text = explain::explain(&word).map_err(|similar| unknown(&word, &similar))?;
    print(&text)?;
    Ok(Exit::Done)
}

fn unknown(word: &str, similar: &[String]) -> Failure {
    let failure = Failure::usage(format!(
        "`{}` is no word of a report, exit code, policy key, command, metric or alert",
        foreign::line(word)
    ));
    if similar.is_empty() {
        return failure
            .hint("`eso-sync schema --for report` and `eso-sync schema` list all words and keys");
    }
    let similar: Vec<String> = similar.iter().map(|word| format!("`{word}`")).collect();
    failure.hint(format!("similar words: {}", similar.join(", ")))
}
