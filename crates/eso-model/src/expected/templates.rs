//! The evaluation of templates, as the pipeline asks for it.

use std::collections::BTreeMap;

use secret::Value;

use super::{
    spec::Template,
    verdict::{NotComputable, Unverifiable, why},
};

/// Evaluates templates. A closure with the signature of [`Templates::render`] is one that refuses `transform`.
pub trait Templates {
    /// The keys that the template makes of the provider's data (`templateFrom`, then `data`). Labels and annotations have to
    /// be rendered too, for a failure in them.
    fn render(
        &self,
        template: &Template,
        data: &BTreeMap<String, Value>,
    ) -> Result<BTreeMap<String, Value>, NotComputable>;

    /// `rewrite.transform`: the key (`.value`) rendered.
    fn transform(&self, template: &str, key: &str) -> Result<String, NotComputable> {
        let _ = (template, key);
        Err(Unverifiable::new(why::TEMPLATE, "transform").into())
    }
}

impl<F> Templates for F
where
    F: Fn(&Template, &BTreeMap<String, Value>) -> Result<BTreeMap<String, Value>, NotComputable>,
{
    fn render(
        &self,
        template: &Template,
        data: &BTreeMap<String, Value>,
    ) -> Result<BTreeMap<String, Value>, NotComputable> {
        self(template, data)
    }
}
