//! `publish`: from the files of a repository to a provider.

mod aws;
mod created;
mod document;
mod faults;
#[cfg(feature = "git")]
mod git;
mod killed;
mod leak;
mod offline;
mod only;
mod programs;
mod sandbox;
mod services;
pub(crate) mod targets;

use crate::support::{Outcome, Workspace};

/// The key of the marks in these tests.
pub(crate) const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Runs `publish` with the policy of the workspace.
pub(crate) async fn publish(workspace: &Workspace, arguments: &[&str]) -> Outcome {
    let path = workspace.path().join("policy.yaml");
    let path = path.to_str().expect("UTF-8");
    let (command, flags) = match arguments.first() {
        Some(&("list" | "status")) => arguments.split_at(1),
        _ => arguments.split_at(0),
    };
    workspace
        .run(&[&["publish"], command, &["--config", path], flags].concat())
        .await
}
