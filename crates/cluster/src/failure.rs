//! Why a connection could not be set up.

use std::path::PathBuf;

use super::address::Address;

/// The reason why no connection could be set up.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(String),
    /// A kubeconfig file cannot be read.
    #[error("the kubeconfig {} cannot be read: {why}", path.display())]
    Unreadable {
        path: PathBuf,
        /// True if there is no such file.
        missing: bool,
        /// The reason.
        why: String,
    },
    /// The server is invalid. Holds the place where it is written.
    #[error("{0} `{1}` is not a valid address; write it like https://HOST:PORT")]
    Address(&'static str, Address),
    /// There is neither a kubeconfig nor a service account.
    #[error(
        "there is no kubeconfig (--kubeconfig, $KUBECONFIG, ~/.kube/config) and no service account of a Pod"
    )]
    NoConfiguration,
    /// The proxy cannot be used.
    #[error("{0}")]
    Proxy(String),
    /// The token cannot be sent.
    #[error("{0}")]
    Token(&'static str),
    #[error(transparent)]
    Plugin(PluginError),
    /// The client cannot be created.
    #[error("cannot create a client: {0}")]
    Client(String),
}

/// The reason why a plugin returned no credentials.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the kubeconfig's credential plugin `{name}` {why}{hint}")]
pub struct PluginError {
    pub(super) name: String,
    pub(super) why: String,
    /// The `installHint` of the kubeconfig, if the plugin is not installed.
    pub(super) hint: String,
}
