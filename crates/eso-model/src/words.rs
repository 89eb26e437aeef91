//! Stable words, each with its meaning.

/// A word of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    pub word: &'static str,
    /// One or more sentences.
    pub meaning: &'static str,
    /// What to do about it, if there is something special.
    pub next: Option<&'static str>,
}

/// Defines a constant for each word, and `ALL` with their meanings, which are the doc comments: `NAME = "word", "what to do";`
macro_rules! words {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal $(, $next:literal)?;)+) => {
        $($(#[doc = $doc])+ pub const $name: &str = $word;)+

        /// All words.
        pub const ALL: &[$crate::Word] = &[$($crate::Word {
            word: $word,
            meaning: concat!($($doc),+).trim_ascii(),
            next: { let next: &[&str] = &[$($next)?]; next.first().copied() },
        }),+];
    };
}

pub(crate) use words;
