//! The section `report`: what remains of a run besides its output.

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    form::{self, Written},
    written::in_order,
};

/// What remains of a run besides its output: report files, a history, and where people find the report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Report {
    /// The number of runs whose summaries are kept in the ConfigMap `eso-sync-history` of the job's namespace, for `eso-sync history`:
    /// at most 50, 0 for none. A summary names ExternalSecrets and workloads that need attention, but no keys and no values. Each
    /// command keeps its own, and each job if `--job` names it.
    #[schemars(range(max = 50))]
    pub history: u32,
    /// Files to which `run`, `restart`, `publish` and `events` also write the report, as with `--report`. They are written to the
    /// folder of `--report-dir`. Commands that only look write them if that flag is set.
    pub files: Vec<ReportFile>,
    /// Where people will find the report: a link that the Markdown report and the history show. It is never opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Written<form::Link>>")]
    pub url: Option<String>,
}

impl Report {
    /// The most runs of one command and job that the history keeps.
    pub const MOST_RUNS: u32 = 50;

    /// True if no key is set, so that a policy without the section keeps its digest.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// One entry of `report.files`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct ReportFile {
    /// `json`, `yaml`, `csv`, `junit`, `markdown`, `sarif` or `html`.
    pub format: FileFormat,
    /// The name of the file, without a folder.
    #[schemars(with = "Written<form::FileName>")]
    pub name: String,
}

/// The formats of report files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FileFormat {
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// CSV
    Csv,
    /// JUnit XML
    Junit,
    /// Markdown
    Markdown,
    /// SARIF 2.1.0
    Sarif,
    /// HTML, one file
    Html,
}
