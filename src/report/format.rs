//! The output formats of documents. A new format is a variant here, and a file of its own.

use clap::ValueEnum;
use serde::Serialize;

/// The output formats of plans and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Table, details and totals
    Table,
    /// Table with all rows and columns, in full
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

impl Output {
    /// Renders a document. `table` renders it for people. Returns an error text if the document cannot be serialised.
    pub fn render<T: Serialize>(
        self,
        document: &T,
        table: impl FnOnce(&T) -> String,
    ) -> Result<String, String> {
        match self {
            Self::Table | Self::Wide => Ok(table(document)),
            Self::Json => serde_json::to_string_pretty(document)
                .map(|json| json + "\n")
                .map_err(|error| error.to_string()),
            Self::Yaml => serde_saphyr::to_string(document).map_err(|error| error.to_string()),
        }
    }
}
