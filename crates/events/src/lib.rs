//! What a rotation event says, which reads it concerns, and what becomes of the message that carried it. Pure: no I/O, no clock.
//!
//! | module | what |
//! |---|---|
//! | `decode` | the body of a message → [`Notice`]s |
//! | `json` | parses untrusted text within limits |
//! | `notice` | what one event says: the names that the key may have, its version, the kind of the change |
//! | `group` | all messages of one key: one decision |
//! | `visible` | whether a read has seen the version of the event |
//! | `dispose` | the table: acknowledge, keep, move to the poison queue, or release |
//!
//! An event is a hint and never a fact: it says which keys to compare now. Anybody may have written it, so nothing of a body
//! leaves this crate except the names of keys, versions, times and the names of kinds that are not known, and [`Notice`] shows none of them in its `Debug`.

mod decode;
mod dispose;
mod group;
mod json;
mod notice;
mod visible;

pub use self::{
    decode::{Decoder, MAX_BODY},
    dispose::{Attempts, Disposal, End, deliveries_within, dispose},
    group::{Group, Groups},
    notice::{Ignored, Notice, Says, Touched, Unreadable, Warned},
    visible::{ReadKey, Sight},
};
