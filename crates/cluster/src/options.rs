//! kubectl's connection flags.

use std::{collections::BTreeMap, path::PathBuf};

use pace::Clock;
use secrecy::SecretString;

use super::{address::Address, native::Native};

/// kubectl's connection flags, and what else a connection depends on. An empty flag counts as unset.
#[derive(Clone)]
pub struct Options {
    /// `--kubeconfig`
    pub kubeconfig: Option<PathBuf>,
    /// `--context`
    pub context: Option<String>,
    /// `--cluster`
    pub cluster: Option<String>,
    /// `--user`
    pub user: Option<String>,
    /// `--server`
    pub server: Option<Address>,
    /// `--token`
    pub token: Option<SecretString>,
    /// `--certificate-authority`
    pub certificate_authority: Option<PathBuf>,
    /// `--insecure-skip-tls-verify`
    pub insecure_skip_tls_verify: bool,
    /// `--as`
    pub impersonate: Option<String>,
    /// `--as-group`
    pub impersonate_groups: Vec<String>,
    /// `--namespace`
    pub namespace: Option<String>,
    /// The environment variables.
    pub environment: BTreeMap<String, String>,
    pub clock: Clock,
    /// True if a credential plugin may use the terminal.
    pub stdin_is_terminal: bool,
    /// Makes the tokens of credential plugins that are not installed.
    pub native: Option<Native>,
}

impl Options {
    /// No flags, no environment variables and no terminal.
    pub fn new(clock: Clock) -> Self {
        Self {
            kubeconfig: None,
            context: None,
            cluster: None,
            user: None,
            server: None,
            token: None,
            certificate_authority: None,
            insecure_skip_tls_verify: false,
            impersonate: None,
            impersonate_groups: Vec::new(),
            namespace: None,
            environment: BTreeMap::new(),
            clock,
            stdin_is_terminal: false,
            native: None,
        }
    }
}
