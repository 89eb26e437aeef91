//! Aligned columns in the style of kubectl: no frames, readable without colour. On a terminal they fit its width.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr};

use crate::screen::Screen;

/// The space between two columns.
const GAP: usize = 3;

/// The space between two columns of a table that does not fit.
const NARROW_GAP: usize = 2;

/// Columns are left out before names get shorter than this.
const READABLE: usize = 12;

/// Sentences are shortened to this before names are.
const SENTENCE: usize = 24;

/// The shortest form of a name, if nothing else can be left out.
const SHORTEST: usize = 5;

/// The title of a column, and what happens to the column if the table does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub title: &'static str,
    cut: Option<Cut>,
    /// Columns with a rank are left out, the lowest rank first.
    rank: Option<u8>,
}

/// Where a text is shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Middle,
    End,
    /// Between the parts of a list.
    Parts,
}

impl Header {
    /// Always shown in full: what the table is about.
    pub const fn whole(title: &'static str) -> Self {
        Self {
            title,
            cut: None,
            rank: None,
        }
    }

    /// Names, of which the start and the end count.
    pub const fn name(title: &'static str) -> Self {
        Self {
            cut: Some(Cut::Middle),
            ..Self::whole(title)
        }
    }

    /// Sentences, of which the start counts.
    pub const fn sentence(title: &'static str) -> Self {
        Self {
            cut: Some(Cut::End),
            ..Self::whole(title)
        }
    }

    /// Lists with `, ` between their parts, of which the first parts count. A part is shown in full, or counted.
    pub const fn list(title: &'static str) -> Self {
        Self {
            cut: Some(Cut::Parts),
            ..Self::whole(title)
        }
    }

    /// Left out of a narrow table, after all columns with a lower rank.
    #[must_use]
    pub const fn left_out(self, rank: u8) -> Self {
        Self {
            rank: Some(rank),
            ..self
        }
    }

    /// Never left out.
    #[must_use]
    pub const fn kept(self) -> Self {
        Self { rank: None, ..self }
    }
}

/// What a cell means for the reader. It only sets the colour, never the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Good,
    /// Unknown, or to be looked at.
    Caution,
    Bad,
}

impl Tone {
    const fn color(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("\u{1b}[32m"),
            Self::Caution => Some("\u{1b}[33m"),
            Self::Bad => Some("\u{1b}[31m"),
        }
    }
}

/// A cell of a table, without line breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub text: String,
    pub tone: Tone,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        let tone = Tone::Plain;
        Self { text, tone }
    }
}

/// A table in aligned columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Aligned {
    pub header: String,
    /// A line for each row.
    pub rows: Vec<String>,
    /// The titles of the columns that are not shown, because the table would be too wide.
    pub left_out: Vec<&'static str>,
}

impl Aligned {
    /// The lines, and what they do not show.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n", self.header);
        for row in &self.rows {
            text.push_str(row);
            text.push('\n');
        }
        if !self.left_out.is_empty() {
            let titles = self.left_out.join(", ");
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "(too narrow for {titles}; `-o wide` shows all columns)"
            );
        }
        text
    }
}

/// Aligns rows below a header.
pub(super) fn align(headers: &[Header], rows: &[Vec<Cell>], screen: Screen) -> Aligned {
    let mut columns: Vec<Fitted> = headers
        .iter()
        .enumerate()
        .map(|(at, &header)| {
            let cells = rows.iter().filter_map(|row| row.get(at));
            Fitted::new(header, cells.map(|cell| &*cell.text))
        })
        .collect();
    let gap = fit(&mut columns, screen.width);
    let titles: Vec<Cell> = headers
        .iter()
        .map(|header| header.title.to_owned().into())
        .collect();
    let line = |cells: &[Cell]| line(&columns, cells, gap, screen.color);
    Aligned {
        header: line(&titles),
        rows: rows.iter().map(|row| line(row)).collect(),
        left_out: columns
            .iter()
            .filter(|column| !column.is_shown)
            .map(|column| column.header.title)
            .collect(),
    }
}

/// A column and its width.
struct Fitted {
    header: Header,
    /// The width of its longest text.
    natural: usize,
    /// The width of its longest text in the shortest form.
    shortest: usize,
    width: usize,
    is_shown: bool,
}

impl Fitted {
    fn new<'a>(header: Header, texts: impl Iterator<Item = &'a str> + Clone) -> Self {
        let title = header.title.width();
        let natural = texts.clone().map(UnicodeWidthStr::width).max();
        let natural = natural.unwrap_or_default().max(title);
        let shortest = match header.cut {
            None => natural,
            Some(Cut::Middle | Cut::End) => title,
            Some(Cut::Parts) => {
                let least = texts.map(|text| first_parts(text, 0).width()).max();
                least.unwrap_or_default().max(title)
            }
        };
        Self {
            header,
            natural,
            shortest,
            width: natural,
            is_shown: true,
        }
    }

    /// The width if texts may be this long.
    fn within(&self, longest: usize) -> usize {
        self.natural.min(longest.max(self.shortest))
    }

    /// The least width before columns are left out.
    fn readable(&self) -> usize {
        self.within(match self.header.cut {
            Some(Cut::End | Cut::Parts) => SENTENCE,
            None | Some(Cut::Middle) => READABLE,
        })
    }

    /// The width if only sentences are shortened.
    fn with_sentences_within(&self, longest: usize) -> usize {
        match self.header.cut {
            Some(Cut::End | Cut::Parts) => self.within(longest),
            None | Some(Cut::Middle) => self.natural,
        }
    }
}

/// The width of the lines.
fn total(columns: &[Fitted], gap: usize, width: impl Fn(&Fitted) -> usize) -> usize {
    let shown = columns.iter().filter(|column| column.is_shown);
    let gaps = shown.clone().count().saturating_sub(1) * gap;
    shown.map(width).sum::<usize>() + gaps
}

/// Sets the widths of the columns, and returns the gap between them.
fn fit(columns: &mut [Fitted], width: Option<usize>) -> usize {
    let Some(width) = width else { return GAP };
    if total(columns, GAP, |column| column.natural) <= width {
        return GAP;
    }
    let least = |columns: &[Fitted]| total(columns, NARROW_GAP, Fitted::readable);
    while least(columns) > width {
        let shown = columns.iter_mut().filter(|column| column.is_shown);
        let ranked = shown.filter_map(|column| Some((column.header.rank?, column)));
        let Some((_, first)) = ranked.min_by_key(|(rank, _)| *rank) else {
            break;
        };
        first.is_shown = false;
    }
    let longest = columns.iter().map(|column| column.natural).max();
    let longest = longest.unwrap_or_default();
    let fits = |width_of: &dyn Fn(&Fitted) -> usize| total(columns, NARROW_GAP, width_of) <= width;
    // Names stay whole as long as the start of each sentence can be read.
    let of_sentences = (SENTENCE..=longest)
        .rev()
        .find(|&longest| fits(&|column| column.with_sentences_within(longest)));
    let of_all = (SHORTEST..=longest)
        .rev()
        .find(|&longest| fits(&|column| column.within(longest)))
        .unwrap_or(SHORTEST);
    for column in columns {
        column.width = match of_sentences {
            Some(longest) => column.with_sentences_within(longest),
            None => column.within(of_all),
        };
    }
    NARROW_GAP
}

fn line(columns: &[Fitted], cells: &[Cell], gap: usize, color: bool) -> String {
    let mut line = String::new();
    let mut spaces = 0;
    for (column, cell) in columns.iter().zip(cells) {
        if !column.is_shown {
            continue;
        }
        line.extend(std::iter::repeat_n(' ', spaces));
        let text = shortened(&cell.text, column.width, column.header.cut);
        match cell.tone.color().filter(|_| color) {
            Some(start) => line.extend([start, &text, "\u{1b}[0m"]),
            None => line.push_str(&text),
        }
        spaces = column.width.saturating_sub(text.width()) + gap;
    }
    line.truncate(line.trim_end().len());
    line
}

/// The text in this width. Wide characters count twice.
fn shortened(text: &str, width: usize, cut: Option<Cut>) -> String {
    let Some(cut) = cut.filter(|_| text.width() > width) else {
        return text.to_owned();
    };
    let mut room = width.saturating_sub(1);
    loop {
        let (start, end) = match cut {
            Cut::Parts => return first_parts(text, width),
            Cut::Middle => (room.div_ceil(2), room / 2),
            Cut::End => (room, 0),
        };
        let short = format!("{}…{}", first(text, start), last(text, end));
        // A sequence of characters can be wider than its parts.
        if room == 0 || short.width() <= width {
            return short;
        }
        room -= 1;
    }
}

/// The first parts of a list in this width, at least one, and the number of the others.
fn first_parts(list: &str, width: usize) -> String {
    let parts: Vec<&str> = list.split(", ").collect();
    let form = |shown: usize| match parts.split_at_checked(shown) {
        Some((shown, others)) if !others.is_empty() => {
            format!("{}, {} more", shown.join(", "), others.len())
        }
        Some(_) | None => list.to_owned(),
    };
    let fitting = (1..=parts.len()).rev().find(|&n| form(n).width() <= width);
    form(fitting.unwrap_or(1))
}

/// The longest start of the text in this width.
fn first(text: &str, width: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or_default();
        if used > width {
            return &text[..at];
        }
    }
    text
}

/// The longest end of the text in this width. It does not start with a mark that belongs to the character before it.
fn last(text: &str, width: usize) -> &str {
    let mut used = 0;
    let mut start = text.len();
    for (at, c) in text.char_indices().rev() {
        let wide = c.width().unwrap_or_default();
        used += wide;
        if used > width {
            break;
        }
        if wide > 0 {
            start = at;
        }
    }
    &text[start..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn screen(width: usize) -> Screen {
        Screen {
            width: Some(width),
            ..Screen::default()
        }
    }

    const HEADERS: [Header; 4] = [
        Header::name("NAMESPACE"),
        Header::name("NAME"),
        Header::whole("LAST SYNC").left_out(1),
        Header::whole("VERDICT"),
    ];

    fn rows() -> Vec<Vec<Cell>> {
        let row = |cells: [&str; 4]| cells.map(|text| text.to_owned().into()).to_vec();
        vec![
            row(["shop", "api", "2026-03-01 11:15:00Z", "in-sync"]),
            row([
                "a-very-long-namespace-of-a-team",
                "database-credentials-of-the-billing-service",
                "never",
                "unverifiable",
            ]),
        ]
    }

    fn shown(width: usize) -> String {
        align(&HEADERS, &rows(), screen(width)).text()
    }

    #[test]
    fn table_fits_the_width() {
        insta::assert_snapshot!([120, 80, 50, 30].map(shown).join("\n"), @"
        NAMESPACE                         NAME                                          LAST SYNC              VERDICT
        shop                              api                                           2026-03-01 11:15:00Z   in-sync
        a-very-long-namespace-of-a-team   database-credentials-of-the-billing-service   never                  unverifiable

        NAMESPACE              NAME                   LAST SYNC             VERDICT
        shop                   api                    2026-03-01 11:15:00Z  in-sync
        a-very-lon…-of-a-team  database-c…ng-service  never                 unverifiable

        NAMESPACE          NAME               VERDICT
        shop               api                in-sync
        a-very-l…f-a-team  database…-service  unverifiable
        (too narrow for LAST SYNC; `-o wide` shows all columns)

        NAMESPACE  NAME   VERDICT
        shop       api    in-sync
        a-ve…team  da…ce  unverifiable
        (too narrow for LAST SYNC; `-o wide` shows all columns)
        ");
    }

    #[test]
    fn text_is_shortened_in_the_middle_by_its_width() {
        let cut = |text, width| shortened(text, width, Some(Cut::Middle));
        assert_eq!(cut("very-long-name", 14), "very-long-name");
        assert_eq!(cut("very-long-name", 9), "very…name");
        assert_eq!(cut("very-long-name", 8), "very…ame");
        assert_eq!(cut("very-long-name", 1), "…");
        assert_eq!(cut("日本語の名前", 9), "日本…名前");
        assert_eq!(cut("日本語の名前", 8), "日本…前");
        // The accent is a character of its own, and belongs to the letter before it.
        assert_eq!(cut("abcde\u{301}fg", 5), "ab…fg");
        assert_eq!(cut("abcdefe\u{301}", 5), "ab…fe\u{301}");
        assert_eq!(shortened("a long sentence", 7, Some(Cut::End)), "a long…");
        assert_eq!(shortened("unverifiable", 5, None), "unverifiable");
    }

    #[test]
    fn sentences_are_shortened_before_names() {
        let headers = [
            Header::name("NAME"),
            Header::whole("TOOK").left_out(1),
            Header::sentence("RESULT"),
        ];
        let name = "database-credentials-of-billing";
        let row = [name, "1 s", "1 failed, 17 skipped, 3 not reached"];
        let rows = [row.map(|text| text.to_owned().into()).to_vec()];
        let shown = |width| align(&headers, &rows, screen(width)).rows.concat();
        assert_eq!(
            [80, 70, 57, 50].map(shown),
            [
                "database-credentials-of-billing   1 s    1 failed, 17 skipped, 3 not reached",
                "database-credentials-of-billing  1 s   1 failed, 17 skipped, 3 not re…",
                "database-cre…-of-billing  1 s   1 failed, 17 skipped, 3…",
                "database-c…of-billing  1 s   1 failed, 17 skipped…",
            ]
        );
    }

    #[test]
    fn parts_of_a_list_are_shown_in_full_or_counted() {
        let headers = [Header::name("NAME"), Header::list("RESULT")];
        let lists = ["1 failed, 17 skipped, 3 stale, 2 left", "1 synced"];
        let rows = lists.map(|list| vec!["billing".to_owned().into(), list.to_owned().into()]);
        let shown = |width| align(&headers, &rows, screen(width)).rows;
        assert_eq!(
            shown(80),
            [
                "billing   1 failed, 17 skipped, 3 stale, 2 left",
                "billing   1 synced"
            ]
        );
        assert_eq!(
            shown(40),
            ["billing  1 failed, 17 skipped, 2 more", "billing  1 synced"]
        );
        // The first part stays also where nothing fits.
        assert_eq!(shown(10), ["bi…ng  1 failed, 3 more", "bi…ng  1 synced"]);
        assert_eq!(first_parts("one", 0), "one");
        assert_eq!(first_parts("", 0), "");
    }

    #[test]
    fn color_does_not_change_the_alignment() {
        let cell = |text: &str, tone| Cell {
            text: text.to_owned(),
            tone,
        };
        let rows = [
            vec![cell("stale", Tone::Caution), cell("a", Tone::Plain)],
            vec![cell("in-sync", Tone::Good), cell("b", Tone::Bad)],
        ];
        let headers = [Header::whole("VERDICT"), Header::name("NAME")];
        let color = Screen {
            color: true,
            ..Screen::default()
        };
        let colored = align(&headers, &rows, color);
        assert_eq!(colored.header, "VERDICT   NAME");
        assert_eq!(
            colored.rows,
            [
                "\u{1b}[33mstale\u{1b}[0m     a",
                "\u{1b}[32min-sync\u{1b}[0m   \u{1b}[31mb\u{1b}[0m"
            ]
        );
    }

    proptest! {
        #[test]
        fn shortened_text_is_never_wider(text in any::<String>(), width in 1_usize..40) {
            for cut in [Cut::Middle, Cut::End] {
                prop_assert!(shortened(&text, width, Some(cut)).width() <= width.max(1));
            }
        }

        #[test]
        fn what_a_table_is_about_is_never_shortened(name in ".{0,90}", width in 1_usize..200) {
            let row = vec![name.clone().into(), name.into(), "never".to_owned().into(), "unverifiable".to_owned().into()];
            let aligned = align(&HEADERS, &[row], screen(width));
            prop_assert!(aligned.rows.concat().ends_with("unverifiable"));
            let least = "NAMESPACE".len() + SHORTEST + "unverifiable".len() + 2 * NARROW_GAP;
            prop_assert!(width < least || aligned.rows.iter().all(|row| row.width() <= width));
        }
    }
}
