//! Tokens of credential plugins that this process makes itself, in place of the plugin's program. Who creates a client says how.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::future::BoxFuture;
use jiff::Timestamp;
use pace::Clock;
use secret::Value;

/// What a kubeconfig says about a plugin. No `Debug`, because arguments and variables may contain credentials.
#[derive(Clone)]
pub struct Call {
    /// The command without its folder and without `.exe`.
    pub program: String,
    pub arguments: Vec<String>,
    /// The environment that the program would have.
    pub environment: BTreeMap<String, String>,
    /// The variables that the kubeconfig sets.
    pub of_kubeconfig: BTreeSet<String>,
    pub clock: Clock,
}

/// A token for the API server.
pub struct Token {
    pub token: Value,
    /// When the token is renewed.
    pub renewed: Timestamp,
}

/// Makes a token. The argument is true if the API server rejected the last one.
pub type Issue = Arc<dyn Fn(bool) -> BoxFuture<'static, Result<Token, String>> + Send + Sync>;

/// The source of the tokens of one plugin.
#[derive(Clone)]
pub struct Source {
    /// The command that makes the same token, for messages.
    pub command: &'static str,
    pub issue: Issue,
}

/// Finds the source for a plugin: None if the program is unknown, and an error if it is called in an unknown way.
pub type Find = fn(&Call) -> Option<Result<Source, String>>;

/// How tokens are made.
#[derive(Clone)]
pub struct Native {
    pub find: Find,
    /// The known commands, for messages.
    pub known: &'static str,
    /// True if tokens are made although the program is installed.
    pub always: bool,
    /// Tells the user.
    pub say: Arc<dyn Fn(&str) + Send + Sync>,
}
