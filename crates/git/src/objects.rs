//! The objects of a commit.

use std::collections::HashMap;

use secret::Value;

use crate::{
    budget::{Budget, MAX_BYTES},
    id::Id,
    pack::{self, Kind, Object},
    refusal::Refused,
};

/// Objects that a server sent, by the ID that was computed from their content.
pub struct Objects {
    by_id: HashMap<Id, Object>,
    budget: Budget,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            by_id: HashMap::new(),
            budget: Budget::new(MAX_BYTES),
        }
    }
}

impl Objects {
    /// Adds the objects in the answer to a fetch.
    pub fn add(&mut self, answer: &[u8]) -> Result<(), Refused> {
        let pack = pack::pack_of(answer)?;
        pack::read(&pack, &mut self.budget, &mut self.by_id)
    }

    /// The content of a file, if the server sent it.
    pub fn file(&self, id: Id) -> Option<&Value> {
        self.get(id, Kind::Blob)
    }

    pub(crate) fn get(&self, id: Id, kind: Kind) -> Option<&Value> {
        let object = self.by_id.get(&id)?;
        (object.kind == kind).then_some(&object.content)
    }
}
