//! What the files of a Git repository say: secrets as keys and values, with the file and line that each comes from.
//!
//! No network, no cluster, no provider. A [`Tree`] holds the files in memory; functions read it as profile folders, explicit
//! files or kustomizations. SOPS files are decrypted by a function that the caller passes ([`Decrypt`]). Values are wiped when
//! dropped. A [`Fault`] names the file, the line and what would be right, and never holds content of a file.

mod archive;
mod directory;
mod dotenv;
mod entry;
mod fault;
mod files;
mod flatten;
mod ini;
mod json;
mod kustomize;
mod node;
mod plain;
mod profile;
mod properties;
pub mod smc;
mod source;
mod stops;
mod torn;
mod tree;

pub use self::{
    dotenv::Dialect,
    entry::Entry,
    fault::{Fault, Reason, looks_like_a_name},
    files::{Contents, File, Format, read_files},
    kustomize::{DecryptedFile, KustomizeSecret, decrypted_files, kustomize, printed_secrets},
    profile::{Profile, ProfileFolders, Service},
    source::{Decrypt, Decrypted, Source, Undecrypted},
    stops::{empty_source, stops},
    tree::{MAX_BYTES, MAX_FILES, Tree},
};
