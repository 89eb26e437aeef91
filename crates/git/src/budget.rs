//! The memory that the objects of a commit may use.

use crate::refusal::{Reason, Refused};

/// The maximum size of all objects together.
pub const MAX_BYTES: usize = 64 << 20;

/// The memory that objects may still use.
pub(crate) struct Budget(usize);

impl Budget {
    pub(crate) const fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), Refused> {
        self.0 = self.0.checked_sub(bytes).ok_or_else(too_large)?;
        Ok(())
    }
}

pub(crate) fn too_large() -> Refused {
    let message = format!(
        "the repository is too large: a commit may have {} MiB of files and folders, or of folders and the needed files if the server \
         supports filters (`uploadpack.allowFilter`)",
        MAX_BYTES >> 20
    );
    Refused::new(Reason::TooLarge, message)
}
