//! How a document is shown to people.

use super::{Document, Kind, format::Output, table::Column};
use crate::screen::Screen;

/// The names of a message below a table; `-o wide` shows all.
const NAMED: usize = 20;

/// How a document is shown to people.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub screen: Screen,
    /// True to show all rows, columns and names in full.
    pub wide: bool,
    /// The columns of the table of ExternalSecrets. If empty, those of the kind of document.
    pub columns: Vec<Column>,
}

impl View {
    /// The view for this output format.
    pub fn of(output: Option<Output>, screen: Screen) -> Self {
        Self {
            screen,
            wide: output == Some(Output::Wide),
            columns: Vec::new(),
        }
    }

    /// The screen for tables.
    pub const fn of_tables(&self) -> Screen {
        if self.wide {
            self.screen.without_width()
        } else {
            self.screen
        }
    }

    /// The number of names that a message below a table has at most.
    pub const fn names(&self) -> usize {
        if self.wide { usize::MAX } else { NAMED }
    }

    /// True if the document counts what does not matter, instead of showing it. A plan is shown whole, unless a limit refuses it: then
    /// nothing happens to what it lists.
    pub(super) fn shortens(&self, document: &Document) -> bool {
        let is_long = match document.kind {
            Kind::Report | Kind::Drift => true,
            Kind::Plan => document.summary.refused.is_some(),
            Kind::Status => false,
        };
        is_long && !self.wide
    }
}
