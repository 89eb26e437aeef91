//! x
use super::Document;
use crate::refusal::{Reason, Refused};
pub(super) fn parse(_: &str) -> Result<Document, Refused> {
    Err(Reason::NotIni.into())
}
