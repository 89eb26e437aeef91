//! Reads the files of one commit by [Git's protocol version 2](https://git-scm.com/docs/protocol-v2), without I/O: it makes the
//! requests and reads the answers. HTTPS and SSH carry the same requests.
//!
//! ```text
//! Server::parse(advertisement) ─► Server::list ─► Server::find(answer) ─► Id of a commit
//!   ─► Server::fetch ─► Objects::add(answer) ─► Objects::list ─► what is missing ─► Server::fetch ─► Objects::add
//! ```
//!
//! Nothing touches a disk. Sizes and counts are limited before memory is used, because a server may send anything. The ID of each
//! object is computed from its content, with detection of SHA-1 collisions, so a server cannot send another commit than the one
//! that was asked for. Links and submodules are not followed, and there are no hooks, filters or configuration.

mod address;
mod budget;
mod delta;
mod id;
mod listing;
mod objects;
mod pack;
mod packet;
mod refusal;
mod server;

pub use crate::{
    address::{Address, InvalidAddress, Ssh},
    budget::MAX_BYTES,
    id::Id,
    listing::{Content, Listed, MAX_DEPTH, MAX_ENTRIES},
    objects::{MAX_HISTORY, Objects},
    pack::{MAX_OBJECTS, MAX_PACK},
    packet::{HEADER, MAX_PACKET, Next, next},
    refusal::{Reason, Refused},
    server::{Revision, Server},
};
