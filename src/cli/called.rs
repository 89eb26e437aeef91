//! The flags of the connection, for the commands that the program suggests.

use cluster::Address;

use super::ConnectionArgs;
use crate::{
    called::{Called, NAME},
    foreign::shell_word,
};

impl ConnectionArgs {
    /// How the program was called. `by_kubectl` is true if `kubectl` called it.
    pub fn called(&self, by_kubectl: bool) -> Called {
        let mut flags = self.flags_of_kubectl();
        if self.native_auth {
            flags.push_str(" --native-auth");
        }
        match self.sandbox.as_deref() {
            None => {}
            Some("") => flags.push_str(" --sandbox"),
            Some(content) => flags.extend([" --sandbox=", &shell_word(content)]),
        }
        let program = if by_kubectl { "kubectl eso-sync" } else { NAME };
        Called::with(program, flags)
    }

    /// The flags that `kubectl` has, too, with a space before each. Without the token.
    pub fn flags_of_kubectl(&self) -> String {
        let kubeconfig = self.kubeconfig.as_ref();
        let kubeconfig = kubeconfig.map(|path| path.to_string_lossy().into_owned());
        // A password in an address is not repeated.
        let server = self.server.as_ref();
        let server = server.map(|server| Address::new(&**server).to_string());
        let authority = self.certificate_authority.as_ref();
        let authority = authority.map(|path| path.to_string_lossy().into_owned());
        let named = [
            ("kubeconfig", kubeconfig),
            ("context", self.context.clone()),
            ("cluster", self.cluster.clone()),
            ("user", self.user.clone()),
            ("server", server),
            ("certificate-authority", authority),
            ("as", self.impersonate.clone()),
        ];
        let mut flags = String::new();
        for (flag, value) in named {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                flags.extend([" --", flag, " ", &shell_word(&value)]);
            }
        }
        for group in &self.impersonate_groups {
            flags.extend([" --as-group ", &shell_word(group)]);
        }
        if self.insecure_skip_tls_verify {
            flags.push_str(" --insecure-skip-tls-verify");
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn each_flag_of_the_connection_is_repeated_unless_it_is_secret() {
        for (flags, repeated) in [
            (&["--sandbox"][..], " --sandbox"),
            (&["--sandbox=bad-day"], " --sandbox=bad-day"),
            (
                &["--kubeconfig", "/tmp/k", "--user", "u", "--cluster", "c"],
                " --kubeconfig /tmp/k --cluster c --user u",
            ),
            (&["--token", "secret", "--context", "c"], " --context c"),
            (
                &[
                    "-s",
                    "https://u:password@api:6443",
                    "--insecure-skip-tls-verify",
                ],
                " --server https://api:6443 --insecure-skip-tls-verify",
            ),
            (
                &[
                    "--as-group",
                    "a,b",
                    "--native-auth",
                    "--certificate-authority",
                    "ca.pem",
                ],
                " --certificate-authority ca.pem --as-group a --as-group b --native-auth",
            ),
        ] {
            assert_eq!(
                Cli::parse_from([&["eso-sync", "status"], flags].concat())
                    .connection
                    .called(false),
                Called::with(NAME, repeated.to_owned())
            );
        }
    }
}
