//! What the tests of whole runs share: a world (the sandbox, or a real cluster), and the real binary in it.

mod binary;
mod world;

pub(crate) use self::{
    binary::{Outcome, Workspace},
    world::{World, eventually, now, optional_variable},
};
