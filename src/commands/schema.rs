//! `schema`: prints the JSON Schema of the policy, or of documents.

use serde_json::Value;

use crate::{
    advise::Advice, cli::SchemaOf, diagnose::Diagnosis, events::EventsDocument, exit::Exit,
    failure::Failure, history::History, impact::Impact, output::print, publish::document, report,
    report::FailureDocument, settings,
};

pub(super) fn schema(of: SchemaOf) -> Result<Exit, Failure> {
    let schema: Value = match of {
        SchemaOf::Policy => settings::schema(),
        SchemaOf::Report => report::schema(),
        SchemaOf::Publish => document::schema(),
        SchemaOf::Impact => schemars::schema_for!(Impact).into(),
        SchemaOf::Advice => schemars::schema_for!(Advice).into(),
        SchemaOf::History => schemars::schema_for!(History).into(),
        SchemaOf::Diagnosis => schemars::schema_for!(Diagnosis).into(),
        SchemaOf::Failure => schemars::schema_for!(FailureDocument).into(),
        SchemaOf::Events => schemars::schema_for!(EventsDocument).into(),
    };
    print(&format!("{schema:#}\n"))?;
    Ok(Exit::Done)
}
