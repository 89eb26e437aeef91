//! The trait that the pipeline uses to evaluate templates.

use std::collections::BTreeMap;

use secret::Value;

use super::{
    spec::Template,
    verdict::{NotComputable, Unverifiable, why},
};
use crate::budget::Budget;

/// Evaluates templates. A closure with the signature of [`Templates::render`] also implements this trait; it does not
/// support `transform`.
pub trait Templates {
    /// Renders the template's keys from the provider's data (`templateFrom`, then `data`). Must also render labels and
    /// annotations, because an error in them fails the sync. The budget must pay for all work.
    fn render(
        &self,
        template: &Template,
        data: &BTreeMap<String, Value>,
        budget: &Budget,
    ) -> Result<BTreeMap<String, Value>, NotComputable>;

    /// Renders the template of `rewrite.transform` for a key (`.value`).
    fn transform(
        &self,
        template: &str,
        key: &str,
        budget: &Budget,
    ) -> Result<String, NotComputable> {
        let _ = (template, key, budget);
        Err(Unverifiable::new(why::TEMPLATE, "transform").into())
    }
}

impl<F> Templates for F
where
    F: Fn(
        &Template,
        &BTreeMap<String, Value>,
        &Budget,
    ) -> Result<BTreeMap<String, Value>, NotComputable>,
{
    fn render(
        &self,
        template: &Template,
        data: &BTreeMap<String, Value>,
        budget: &Budget,
    ) -> Result<BTreeMap<String, Value>, NotComputable> {
        self(template, data, budget)
    }
}
