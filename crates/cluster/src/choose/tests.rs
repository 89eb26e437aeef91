use std::io::Write as _;

use jiff::Timestamp;
use pace::Clock;
use proptest::{prelude::*, sample::select};

use super::*;
use crate::transport::Transport;

fn options(kubeconfig: &[u8]) -> (Options, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(kubeconfig).unwrap();
    let mut options = Options::new(Clock::starting_at(Timestamp::UNIX_EPOCH));
    options.kubeconfig = Some(file.path().to_owned());
    (options, file)
}

fn namespace(context: &str, flag: Option<&str>) -> String {
    let text = format!(
        "current-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u{context}}}}}]\n\
         clusters: [{{name: k, cluster: {{server: 'https://h'}}}}]\nusers: [{{name: u, user: {{token: t}}}}]"
    );
    let (mut options, _file) = options(text.as_bytes());
    options.namespace = flag.map(str::to_owned);
    choose(&options).unwrap().namespace
}

#[tokio::test]
async fn empty_namespace_counts_as_unset() {
    assert_eq!(namespace("", None), "default");
    assert_eq!(namespace(", namespace: ''", None), "default");
    assert_eq!(namespace(", namespace: a", None), "a");
    assert_eq!(namespace(", namespace: a", Some("")), "a");
    assert_eq!(namespace(", namespace: a", Some("b")), "b");
}

/// Values that have broken parsers before.
const VALUES: [&str; 40] = [
    "''",
    "null",
    "~",
    "true",
    "yes",
    "0",
    "-1",
    "1e999",
    "[]",
    "{}",
    "[null]",
    "'\\n'",
    "\"\\n\"",
    "\"t\\n\"",
    "\"\\0\"",
    "'é'",
    "\"\\uFEFF\"",
    "https://",
    "https://h",
    "'https://[::1]:6443'",
    "'https://[::1'",
    "'http://h:99999'",
    "'https://u:%zz@h'",
    "'https://u:p@h/?q#f'",
    "'://'",
    "'h:1'",
    "h",
    "'//h'",
    "socks5://h",
    "ftp://h",
    "'*'",
    "bm8=",
    "'=='",
    "'../..'",
    "/",
    "/dev/null",
    "Never",
    "Always",
    "client.authentication.k8s.io/v1",
    "&a [*a]",
];

const CLUSTER: [&str; 8] = [
    "server",
    "certificate-authority",
    "certificate-authority-data",
    "insecure-skip-tls-verify",
    "tls-server-name",
    "proxy-url",
    "disable-compression",
    "extensions",
];

const USER: [&str; 14] = [
    "token",
    "tokenFile",
    "username",
    "password",
    "client-certificate",
    "client-certificate-data",
    "client-key",
    "client-key-data",
    "as",
    "as-uid",
    "as-groups",
    "as-user-extra",
    "auth-provider",
    "exec",
];

fn fields(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    let field =
        (select(names), select(&VALUES[..])).prop_map(|(name, value)| format!("{name}: {value}"));
    let exec = (select(&VALUES[..]), select(&VALUES[..]), select(&VALUES[..]), select(&VALUES[..])).prop_map(
        |(version, command, mode, env)| {
            format!("exec: {{apiVersion: {version}, command: {command}, interactiveMode: {mode}, env: [{{name: {env}, value: x}}]}}")
        },
    );
    proptest::collection::vec(prop_oneof![9 => field, 1 => exec], 0..5)
        .prop_map(|fields| fields.join(", "))
}

fn kubeconfig() -> impl Strategy<Value = String> {
    let parts = (
        fields(&CLUSTER),
        fields(&USER),
        select(&["c", "''", "x", "null", "[]"][..]),
    );
    parts.prop_map(|(cluster, user, current)| {
        format!(
            "current-context: {current}\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
             clusters: [{{name: k, cluster: {{server: 'https://h', {cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]"
        )
    })
}

/// Chooses a connection and creates its client, and returns the words for an error.
fn connected(options: &Options) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let connected = choose(options).and_then(|chosen| Transport::new(chosen.settings));
    connected.err().map(|error| error.to_string())
}

proptest! {
    #[test]
    fn no_kubeconfig_panics(text in kubeconfig()) {
        let (options, _file) = options(text.as_bytes());
        connected(&options);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let (options, _file) = options(&bytes);
        prop_assert!(connected(&options).is_some());
    }

    #[test]
    fn no_flag_panics(server in ".{0,40}", token in ".{0,20}", name in ".{0,10}", proxy in ".{0,40}") {
        let (mut options, _file) = options(b"");
        options.server = Some(Address::new(server));
        options.token = Some(token.into());
        options.impersonate = Some(name.clone());
        options.namespace = Some(name);
        options.environment.insert("HTTPS_PROXY".to_owned(), proxy.clone());
        options.environment.insert("NO_PROXY".to_owned(), proxy);
        connected(&options);
    }
}
