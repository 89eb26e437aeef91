//! Which ExternalSecrets read a remote key. Pure.
//!
//! A key at a provider has many spellings: a name, an ARN with or without its random suffix, a URL, a resource name, a path. Both
//! sides are turned into sets of names, and they match if the sets have a name in common. A match may be wrong, which costs
//! whoever uses it one read; a missing match would hide a change.

mod index;
mod key;
mod place;
mod realm;
mod same;
pub mod vault;

pub use self::{
    index::{Certainty, Index, Use, Why},
    key::{InvalidKey, RemoteKey, partition},
    place::Place,
    realm::Realm,
    same::{Sameness, compare},
};

#[cfg(test)]
mod tests;
