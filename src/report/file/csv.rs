//! CSV by RFC 4180, for spreadsheets: one line for each object.

use std::fmt::Write as _;

use crate::{
    foreign::Foreign,
    report::sheet::{Row, Sheet},
};

const HEADER: [&str; 14] = [
    "kind",
    "namespace",
    "name",
    "level",
    "store",
    "provider",
    "verdict",
    "outcome",
    "reason",
    "message",
    "keys",
    "next step",
    "at",
    "seconds",
];

pub(super) fn csv(sheet: &Sheet) -> String {
    let mut text = HEADER.join(",") + "\r\n";
    for row in &sheet.rows {
        line(&mut text, &cells(row));
    }
    for note in &sheet.notes {
        let mut cells: [String; 14] = Default::default();
        let [kind, _, _, level, _, _, _, _, _, message, ..] = &mut cells;
        "note".clone_into(kind);
        note.level.into_str().clone_into(level);
        *message = note.text.terminal();
        line(&mut text, &cells);
    }
    text
}

fn cells(row: &Row) -> [String; 14] {
    let keys: Vec<String> = row.keys.iter().map(Foreign::terminal).collect();
    let at = row.at.map(|at| at.to_string());
    let seconds = row.seconds.map(|seconds| seconds.to_string());
    [
        row.kind.to_owned(),
        row.namespace.terminal(),
        row.name.terminal(),
        row.level.into_str().to_owned(),
        row.store.terminal(),
        row.provider.terminal(),
        row.verdict.to_owned(),
        row.outcome.to_owned(),
        row.reason.to_owned(),
        row.message.terminal(),
        keys.join(", "),
        row.next_step.clone().into_owned(),
        at.unwrap_or_default(),
        seconds.unwrap_or_default(),
    ]
}

fn line(text: &mut String, cells: &[String]) {
    for (index, cell) in cells.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{}", escaped(cell));
    }
    text.push_str("\r\n");
}

/// Quotes a cell where RFC 4180 asks for it. A spreadsheet would compute a cell that starts like a formula, so such a cell starts
/// with an apostrophe.
fn escaped(cell: &str) -> String {
    let is_formula = cell
        .trim_start()
        .starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠', '|', '%']);
    let apostrophe = if is_formula { "'" } else { "" };
    if cell.contains(['"', ',', ';', '\r', '\n', '\t']) || cell.starts_with(' ') {
        format!("\"{apostrophe}{}\"", cell.replace('"', "\"\""))
    } else {
        format!("{apostrophe}{cell}")
    }
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn cells_are_quoted_and_formulas_are_text() {
        for (cell, shown) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=1+1", "'=1+1"),
            (" =1", "\"' =1\""),
            ("-2", "'-2"),
            ("+2", "'+2"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("＝1", "'＝1"),
            (
                "=HYPERLINK(\"http://x\";1)",
                "\"'=HYPERLINK(\"\"http://x\"\";1)\"",
            ),
            ("a=1", "a=1"),
        ] {
            assert_eq!(escaped(cell), shown);
        }
    }
}
