//! `schema`: prints the JSON Schema of the policy, or of documents.

use serde_json::Value;

use crate::{
    cli::SchemaOf, exit::Exit, failure::Failure, output::print, publish::document, report, settings,
};

pub(super) fn schema(of: SchemaOf) -> Result<Exit, Failure> {
    let schema: Value = match of {
        SchemaOf::Policy => settings::schema(),
        SchemaOf::Report => report::schema(),
        SchemaOf::Publish => document::schema(),
    };
    print(&format!("{schema:#}\n"))?;
    Ok(Exit::Done)
}
