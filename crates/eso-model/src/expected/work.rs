//! The work on one ExternalSecret: the budget that pays for it, and the texts that it reads. Each text is made and parsed once,
//! no matter how many entries of the spec use it.

use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use secret::Value;

use super::{
    answer::Raw,
    keys::Keys,
    verdict::{NotComputable, why},
};
use crate::{
    budget::{Budget, TooCostly},
    gjson::Document,
};

/// The memory of an entry of a map, in addition to its key and value.
const ENTRY: usize = 64;

/// In JSON, a byte becomes at most six.
const ESCAPED: usize = 6;

/// For each answer, the text that paths are evaluated on, if the provider's API has another format.
pub(super) struct Texts(BTreeMap<*const Raw, OnceCell<Result<Value, NotComputable>>>);

impl Texts {
    pub(super) fn of<'a>(answers: impl IntoIterator<Item = &'a Raw>) -> Self {
        let answers = answers.into_iter();
        Self(
            answers
                .map(|raw| (std::ptr::from_ref(raw), OnceCell::new()))
                .collect(),
        )
    }
}

pub(super) struct Work<'s> {
    pub(super) budget: &'s Budget,
    texts: &'s Texts,
    documents: RefCell<BTreeMap<(*const u8, usize), Rc<Document<'s>>>>,
}

impl<'s> Work<'s> {
    pub(super) const fn new(budget: &'s Budget, texts: &'s Texts) -> Self {
        Self {
            budget,
            texts,
            documents: RefCell::new(BTreeMap::new()),
        }
    }

    /// Returns the text of the answer. Only the first call makes it.
    pub(super) fn text(
        &self,
        raw: &Raw,
        make: impl FnOnce() -> Result<Value, NotComputable>,
    ) -> Result<&'s [u8], NotComputable> {
        let text = self.texts.0.get(&std::ptr::from_ref(raw));
        let text = text.ok_or_else(|| NotComputable::unverifiable(why::PROVIDER))?;
        match text.get_or_init(make) {
            Ok(text) => Ok(text.expose()),
            Err(error) => Err(error.clone()),
        }
    }

    /// Returns the parsed text. Only the first call parses it.
    pub(super) fn document(&self, text: &'s [u8]) -> Result<Rc<Document<'s>>, TooCostly> {
        self.budget.step(1)?;
        let place = (text.as_ptr(), text.len());
        if let Some(document) = self.documents.borrow().get(&place) {
            return Ok(Rc::clone(document));
        }
        let document = Rc::new(Document::parse(text, self.budget)?);
        let mut documents = self.documents.borrow_mut();
        documents.insert(place, Rc::clone(&document));
        Ok(document)
    }

    /// Returns a copy of a value.
    pub(super) fn copy(&self, value: &[u8]) -> Result<Value, TooCostly> {
        self.budget.write(value.len() + ENTRY)?;
        Ok(Value::from(value))
    }

    /// Takes from the budget what it costs to encode this many bytes as JSON.
    pub(super) fn charge_json(&self, bytes: usize) -> Result<(), TooCostly> {
        self.budget.room(bytes.saturating_mul(ESCAPED))?;
        self.budget.write(bytes + ENTRY)
    }

    /// Takes from the budget what it costs to pass over all keys and values once, with as much memory.
    pub(super) fn charge_keys(&self, keys: &Keys) -> Result<(), TooCostly> {
        self.budget.step(keys.len())?;
        for (key, value) in keys {
            self.budget
                .write(key.len() + value.expose().len() + ENTRY)?;
        }
        Ok(())
    }
}
