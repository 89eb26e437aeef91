//! Kubeconfigs, environments and flags, each with the server that kubectl reaches and the credentials that it sends.
//!
//! `{A}` is an API server, `{B}` one whose certificate is for `other.test`, `{P}` one without TLS. They do not answer on `api.test`:
//! only the proxies know that name.

#![expect(clippy::too_many_lines, reason = "tables")]

/// A case of the table.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// The files, with their names.
    pub(super) files: Vec<(&'static str, String)>,
    pub(super) environment: Vec<(&'static str, &'static str)>,
    pub(super) flags: Vec<&'static str>,
    /// The proxies and the server that are reached, with the credentials. Empty if the command must refuse.
    pub(super) reaches: &'static str,
}

/// A case whose only file is `config`.
fn file(name: &'static str, text: impl Into<String>, reaches: &'static str) -> Case {
    Case {
        name,
        files: vec![("config", text.into())],
        environment: vec![("KUBECONFIG", "config")],
        flags: Vec::new(),
        reaches,
    }
}

impl Case {
    fn and(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.files.push((name, text.into()));
        self
    }

    fn set(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.retain(|(known, _)| *known != name);
        self.environment.push((name, value));
        self
    }

    fn flags(mut self, flags: &[&'static str]) -> Self {
        self.flags = flags.to_vec();
        self
    }
}

/// A kubeconfig with one context.
fn config(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         contexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
         clusters: [{{name: k, cluster: {{{cluster}}}}}]\n\
         users: [{{name: u, user: {{{user}}}}}]\n"
    )
}

/// A kubeconfig for the server with TLS.
fn at_a(user: &str) -> String {
    config("server: '{A}', certificate-authority: ca.pem", user)
}

fn cluster(name: &'static str, cluster: &str, reaches: &'static str) -> Case {
    file(name, config(cluster, "token: t"), reaches)
}

fn user(name: &'static str, user: &str, reaches: &'static str) -> Case {
    file(name, at_a(user), reaches)
}

fn flags(name: &'static str, user: &str, flags: &[&'static str], reaches: &'static str) -> Case {
    file(name, at_a(user), reaches).flags(flags)
}

/// A case with a plugin that is this shell script.
fn plugin(name: &'static str, exec: &str, script: &str, reaches: &'static str) -> Case {
    let exec =
        format!("exec: {{apiVersion: client.authentication.k8s.io/v1, command: ./plugin, {exec}}}");
    user(name, &exec, reaches).and("plugin", format!("#!/bin/sh\n{script}\n"))
}

const PRINT: &str = r#"echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"p"}}'"#;

fn proxied(name: &'static str, url: &str, reaches: &'static str) -> Case {
    let text =
        format!("server: 'https://api.test', certificate-authority: ca.pem, proxy-url: '{url}'");
    cluster(name, &text, reaches)
}

fn by_environment(
    name: &'static str,
    variables: &[(&'static str, &'static str)],
    reaches: &'static str,
) -> Case {
    let text = "server: 'https://api.test', certificate-authority: ca.pem";
    let mut case = cluster(name, text, reaches);
    case.environment.extend(variables);
    case
}

pub(super) fn cases() -> Vec<Case> {
    [
        files(),
        texts(),
        servers(),
        authorities(),
        users(),
        certificates(),
        plugins(),
        with_flags(),
        proxies(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn files() -> Vec<Case> {
    let empty = "apiVersion: v1\nkind: Config\ncurrent-context: ''\n";
    let twice = "contexts: [{name: c, context: {cluster: k}}]\nclusters: [{name: k, cluster: {server: '{A}'}}, {name: k, cluster: {server: '{A}'}}]\ncurrent-context: c\n";
    let home = |case: Case| Case {
        environment: Vec::new(),
        ..case
    };
    vec![
        file("one file", at_a("token: t"), "a Bearer t"),
        file("missing file in the list", at_a("token: t"), "a Bearer t")
            .set("KUBECONFIG", "missing:config:gone"),
        file("only missing files", at_a("token: t"), "").set("KUBECONFIG", "missing:gone"),
        file("empty entries in the list", at_a("token: t"), "a Bearer t")
            .set("KUBECONFIG", "::config:"),
        file("the same file twice", at_a("token: t"), "a Bearer t")
            .set("KUBECONFIG", "config:config"),
        file("a folder in the list", at_a("token: t"), "").set("KUBECONFIG", "config:."),
        file(
            "empty current-context in the first file",
            at_a("token: t"),
            "a Bearer t",
        )
        .and("first", empty)
        .set("KUBECONFIG", "first:config"),
        file("first user wins", at_a("token: t"), "a Bearer first")
            .and("first", "users: [{name: u, user: {token: first}}]\n")
            .set("KUBECONFIG", "first:config"),
        file(
            "entries are not merged by field",
            at_a("token: t"),
            "a Basic first:",
        )
        .and("first", "users: [{name: u, user: {username: first}}]\n")
        .set("KUBECONFIG", "first:config"),
        file(
            "entries in other files",
            "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n",
            "a Bearer t",
        )
        .and(
            "two",
            "clusters: [{name: k, cluster: {server: '{A}', certificate-authority: ca.pem}}]\n",
        )
        .and("three", "users: [{name: u, user: {token: t}}]\n")
        .set("KUBECONFIG", "config:two:three"),
        file("a name twice in one file", twice, ""),
        file("a broken file in the list", at_a("token: t"), "")
            .and("broken", "{")
            .set("KUBECONFIG", "config:broken"),
        file("empty variable", at_a("token: t"), "a Bearer home")
            .and(
                ".kube/config",
                config(
                    "server: '{A}', certificate-authority: ../ca.pem",
                    "token: home",
                ),
            )
            .set("KUBECONFIG", ""),
        home(file("home", "", "a Bearer home").and(
            ".kube/config",
            config(
                "server: '{A}', certificate-authority: ../ca.pem",
                "token: home",
            ),
        )),
        home(file("no file", "", "")),
        file("flag before variable", at_a("token: t"), "a Bearer f")
            .and("flagged", at_a("token: f"))
            .flags(&["--kubeconfig=flagged"]),
        file("empty flag", at_a("token: t"), "a Bearer t").flags(&["--kubeconfig="]),
        file("missing file of the flag", at_a("token: t"), "").flags(&["--kubeconfig=missing"]),
        file("paths are relative to the file", "", "a Bearer file-token")
            .and(
                "folder/config",
                config(
                    "server: '{A}', certificate-authority: ../ca.pem",
                    "tokenFile: ../token",
                ),
            )
            .set("KUBECONFIG", "folder/config"),
    ]
}

fn texts() -> Vec<Case> {
    let json = r#"{"current-context":"c","contexts":[{"name":"c","context":{"cluster":"k","user":"u"}}],"clusters":[{"name":"k","cluster":{"server":"{A}","certificate-authority":"ca.pem"}}],"users":[{"name":"u","user":{"token":"t"}}]}"#;
    vec![
        file("JSON", json, "a Bearer t"),
        file("no text", "", ""),
        file("only a comment", "# nothing\n", ""),
        file(
            "Windows line breaks",
            at_a("token: t").replace('\n', "\r\n"),
            "a Bearer t",
        ),
        file(
            "unknown fields",
            format!("{}more: [1]\n", at_a("token: t, more: {a: 1}")),
            "a Bearer t",
        ),
        file(
            "null lists",
            format!(
                "{}preferences: null\nextensions: null\n",
                at_a("token: t, as-groups: null")
            ),
            "a Bearer t",
        ),
        file(
            "other kind",
            at_a("token: t").replace("kind: Config", "kind: Secret"),
            "",
        ),
        file(
            "other version",
            at_a("token: t").replace("apiVersion: v1", "apiVersion: v2"),
            "",
        ),
        file(
            "no version",
            at_a("token: t").replace("apiVersion: v1\nkind: Config\n", ""),
            "a Bearer t",
        ),
        file("number as token", at_a("token: 12345"), ""),
        file(
            "list as user",
            at_a("token: t").replace("{token: t}", "[]"),
            "",
        ),
        file("text as list", "contexts: c\n", ""),
        file("not YAML", "\tcontexts: [", ""),
        file("binary", "\u{0}\u{1}\u{2}", ""),
        file(
            "no current-context",
            at_a("token: t").replace("current-context: c\n", ""),
            "",
        ),
        file(
            "missing context",
            at_a("token: t").replace("current-context: c\n", "current-context: x\n"),
            "",
        ),
        file(
            "missing cluster",
            at_a("token: t").replace("cluster: k", "cluster: x"),
            "",
        ),
        file(
            "missing user",
            at_a("token: t").replace("user: u}", "user: x}"),
            "",
        ),
        file(
            "context without user",
            at_a("token: t").replace(", user: u}", "}"),
            "",
        ),
    ]
}

fn servers() -> Vec<Case> {
    let at = |name, server: &str, reaches| {
        cluster(
            name,
            &format!("server: '{server}', certificate-authority: ca.pem"),
            reaches,
        )
    };
    vec![
        at("path", "{A}/k8s/c1", "a/k8s/c1 Bearer t"),
        at(
            "path with a slash at its end",
            "{A}/k8s/c1/",
            "a/k8s/c1 Bearer t",
        ),
        at("slash", "{A}/", "a Bearer t"),
        at("query", "{A}/k8s?x=y", "a/k8s Bearer t"),
        at("upper case scheme", "HTTPS://{A_HOST}", "a Bearer t"),
        at(
            "user information",
            "https://n:p%40w@{A_HOST}",
            "a Basic n:p@w",
        ),
        at("http", "{P}", "plain"),
        at("no scheme", "{P_HOST}", "plain"),
        at("no scheme with a path", "{P_HOST}/k8s", ""),
        at(
            "user information over http",
            "http://n:w@{P_HOST}",
            "plain Basic n:w",
        ),
        at("IPv6", "https://[::1]:{A6_PORT}", "a6 Bearer t"),
        at("empty", "", ""),
        at("no host", "https://", ""),
        at("only a path", "https:///k8s", ""),
        at("other scheme", "ftp://{A_HOST}", ""),
        at("port out of range", "https://127.0.0.1:99999", ""),
        at("port is no number", "https://127.0.0.1:port", ""),
        at("space", "https://127.0.0.1 :6443", ""),
        at("colons", "::::", ""),
        at(
            "invalid escape in the user information",
            "https://n:%zz@{A_HOST}",
            "",
        ),
        at("TLS with a server without TLS", "https://{P_HOST}", ""),
        cluster("no server", "certificate-authority: ca.pem", ""),
        file(
            "impersonation over http",
            config("server: '{P}'", "token: t, as: bob"),
            "plain user=bob",
        ),
        file("environment names a server", "", "plain").set("KUBERNETES_MASTER", "{P}"),
    ]
}

fn authorities() -> Vec<Case> {
    let with =
        |name, text: &str, reaches| cluster(name, &format!("server: '{{A}}', {text}"), reaches);
    let at_b = |name, text: &str, reaches| {
        cluster(
            name,
            &format!("server: '{{B}}', certificate-authority: ca.pem, {text}"),
            reaches,
        )
    };
    vec![
        with(
            "authority as data",
            "certificate-authority-data: {CA_DATA}",
            "a Bearer t",
        ),
        with(
            "authority as data and file",
            "certificate-authority-data: {CA_DATA}, certificate-authority: ca.pem",
            "",
        ),
        with(
            "authority is not base64",
            "certificate-authority-data: '***'",
            "",
        ),
        with(
            "authority is not PEM",
            "certificate-authority-data: bm8=",
            "",
        ),
        with("authority is missing", "certificate-authority: missing", ""),
        with("other authority", "certificate-authority: other-ca.pem", ""),
        with(
            "several authorities",
            "certificate-authority: both-ca.pem",
            "a Bearer t",
        ),
        with("no authority", "disable-compression: true", ""),
        with(
            "not verified",
            "insecure-skip-tls-verify: true",
            "a Bearer t",
        ),
        with(
            "not verified, in YAML 1.1",
            "insecure-skip-tls-verify: yes",
            "a Bearer t",
        ),
        with(
            "not verified, as text",
            "insecure-skip-tls-verify: 'true'",
            "",
        ),
        with(
            "not verified, with an authority",
            "insecure-skip-tls-verify: true, certificate-authority: ca.pem",
            "",
        ),
        with(
            "empty authority",
            "insecure-skip-tls-verify: true, certificate-authority: '', certificate-authority-data: ''",
            "a Bearer t",
        ),
        with(
            "empty server name",
            "certificate-authority: ca.pem, tls-server-name: ''",
            "a Bearer t",
        ),
        with(
            "other server name",
            "certificate-authority: ca.pem, tls-server-name: other.test",
            "",
        ),
        with(
            "server name is an address",
            "certificate-authority: ca.pem, tls-server-name: 127.0.0.1",
            "a Bearer t",
        ),
        at_b("certificate for another name", "tls-server-name: ''", ""),
        at_b("server name", "tls-server-name: other.test", "b Bearer t"),
    ]
}

fn users() -> Vec<Case> {
    vec![
        user("no credentials", "", ""),
        user(
            "empty credentials",
            "token: '', username: '', password: '', tokenFile: ''",
            "",
        ),
        user("token ends with a line break", r#"token: "t\n""#, ""),
        user(
            "token file ends with a line break",
            "tokenFile: token",
            "a Bearer file-token",
        ),
        user(
            "token and token file",
            "token: t, tokenFile: token",
            "a Bearer file-token",
        ),
        user(
            "token and missing token file",
            "token: t, tokenFile: missing",
            "a Bearer t",
        ),
        user("missing token file", "tokenFile: missing", ""),
        user("empty token file", "tokenFile: empty", ""),
        user("password", "username: name, password: w", "a Basic name:w"),
        user("username only", "username: name", "a Basic name:"),
        user("password only", "password: w", ""),
        user(
            "token and password",
            "token: t, username: name, password: w",
            "",
        ),
        user(
            "token file and password",
            "tokenFile: token, username: name, password: w",
            "",
        ),
        user(
            "impersonation",
            "token: t, as: bob, as-uid: '7', as-groups: [g, h], as-user-extra: {Some/Key: [x, z]}",
            "a Bearer t extra-some%2fkey=x extra-some%2fkey=z group=g group=h uid=7 user=bob",
        ),
        user(
            "impersonated group without user",
            "token: t, as-groups: [g]",
            "",
        ),
        user(
            "impersonated user with a line break",
            r#"token: t, as: "b\nob""#,
            "",
        ),
        user(
            "empty impersonation",
            "token: t, as: '', as-groups: []",
            "a Bearer t",
        ),
        user("removed auth provider", "auth-provider: {name: gcp}", ""),
        user("unknown auth provider", "auth-provider: {name: x}", ""),
        user(
            "OIDC",
            "auth-provider: {name: oidc, config: {idp-issuer-url: 'https://127.0.0.1:1', client-id: c, id-token: {JWT}}}",
            "a Bearer {JWT}",
        ),
        user(
            "expired OIDC",
            "auth-provider: {name: oidc, config: {idp-issuer-url: 'https://127.0.0.1:1', client-id: c, id-token: {OLD_JWT}}}",
            "",
        ),
    ]
}

fn certificates() -> Vec<Case> {
    vec![
        user(
            "certificate",
            "client-certificate: alice.pem, client-key: alice.key",
            "a cert=alice",
        ),
        user(
            "certificate as data",
            "client-certificate-data: {ALICE_DATA}, client-key-data: {ALICE_KEY_DATA}",
            "a cert=alice",
        ),
        user(
            "certificate as data with a key file",
            "client-certificate-data: {ALICE_DATA}, client-key: alice.key",
            "a cert=alice",
        ),
        user(
            "certificate and empty token",
            "token: '', client-certificate: alice.pem, client-key: alice.key",
            "a cert=alice",
        ),
        user(
            "certificate and token",
            "token: t, client-certificate: alice.pem, client-key: alice.key",
            "a cert=alice Bearer t",
        ),
        user(
            "certificate without key",
            "client-certificate: alice.pem",
            "",
        ),
        user(
            "key without certificate",
            "token: t, client-key: alice.key",
            "a Bearer t",
        ),
        user(
            "certificate as data and file",
            "client-certificate-data: {ALICE_DATA}, client-certificate: alice.pem, client-key: alice.key",
            "",
        ),
        user(
            "key as data and file",
            "client-certificate: alice.pem, client-key-data: {ALICE_KEY_DATA}, client-key: alice.key",
            "",
        ),
        user(
            "key of another certificate",
            "client-certificate: alice.pem, client-key: bob.key",
            "",
        ),
        user(
            "missing certificate",
            "client-certificate: missing, client-key: alice.key",
            "",
        ),
        user(
            "certificate is not PEM",
            "client-certificate: token, client-key: alice.key",
            "",
        ),
    ]
}

fn plugins() -> Vec<Case> {
    let never = "interactiveMode: Never";
    let beta = PRINT.replace("/v1", "/v1beta1");
    let with_key = r#"cert=$(awk '{printf "%s\\n", $0}' alice.pem); key=$(awk '{printf "%s\\n", $0}' alice.key)
printf '%s' "{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"clientCertificateData\":\"$cert\",\"clientKeyData\":\"$key\"}}""#;
    let tell = |what: &str| {
        format!(
            "value={what}\necho '{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{{\"token\":\"'$value'\"}}}}'"
        )
    };
    let of_info = |key: &str| {
        tell(&format!(
            r#"$(echo "$KUBERNETES_EXEC_INFO" | grep -o '"{key}":[^,}}]*' | head -n 1 | cut -d: -f2- | tr -d '"')"#
        ))
    };
    vec![
        plugin("plugin", never, PRINT, "a Bearer p"),
        plugin("plugin that prints YAML", never, "printf 'apiVersion: client.authentication.k8s.io/v1\\nkind: ExecCredential\\nstatus: {token: p}\\n'", "a Bearer p"),
        plugin("plugin with arguments", "interactiveMode: Never, args: [x, w], env: [{name: NAME, value: z}]", &tell("$1$2$NAME"), "a Bearer xwz"),
        plugin("plugin in the environment", never, &tell("$HTTP_X"), "a Bearer inherited").set("HTTP_X", "inherited"),
        plugin("plugin with a certificate", never, with_key, "a cert=alice"),
        plugin("plugin and token", "interactiveMode: Never}, token: t, x: {", "exit 1", "a Bearer t"),
        plugin("plugin and empty token", "interactiveMode: Never}, token: '', x: {", PRINT, "a Bearer p"),
        plugin("plugin and auth provider", "interactiveMode: Never}, auth-provider: {name: oidc", PRINT, ""),
        plugin("plugin if a terminal is available", "interactiveMode: IfAvailable", &of_info("interactive"), "a Bearer false"),
        plugin("plugin that needs a terminal", "interactiveMode: Always", PRINT, ""),
        plugin("plugin without a mode", "args: []", PRINT, ""),
        plugin("plugin with an unknown mode", "interactiveMode: Sometimes", PRINT, ""),
        plugin("plugin that learns the server", "interactiveMode: Never, provideClusterInfo: true", &of_info("server"), "a Bearer {A}"),
        plugin("plugin that learns the authority", "interactiveMode: Never, provideClusterInfo: true", &of_info("certificate-authority-data"), "a Bearer {CA_DATA}"),
        plugin("plugin that learns nothing", never, &tell(r#"$(echo "$KUBERNETES_EXEC_INFO" | grep -c server)"#), "a Bearer 0"),
        plugin("plugin fails", never, "exit 3", ""),
        plugin("plugin prints nothing", never, "true", ""),
        plugin("plugin prints garbage", never, "echo garbage: [", ""),
        plugin("plugin prints another version", never, &beta, ""),
        plugin("plugin prints no token", never, &PRINT.replace("\"token\":\"p\"", ""), ""),
        plugin("plugin prints an empty token", never, &PRINT.replace("\"p\"", "\"\""), ""),
        plugin("plugin prints a token with a line break", never, &PRINT.replace("\"p\"", "\"p\\\\n\""), ""),
        plugin("plugin prints half a certificate", never, &PRINT.replace("\"token\"", "\"clientKeyData\""), ""),
        plugin("plugin prints an invalid time", never, &PRINT.replace("\"p\"", "\"p\",\"expirationTimestamp\":\"soon\""), ""),
        user("old plugin", "exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: ./plugin}", "a Bearer p").and("plugin", format!("#!/bin/sh\n{beta}\n")),
        user("plugin of a removed version", "exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: ./plugin, interactiveMode: Never}", "").and("plugin", format!("#!/bin/sh\n{PRINT}\n")),
        user("plugin without a version", "exec: {command: ./plugin, interactiveMode: Never}", "").and("plugin", format!("#!/bin/sh\n{PRINT}\n")),
        user("plugin without a command", "exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never}", ""),
        user("missing plugin", "exec: {apiVersion: client.authentication.k8s.io/v1, command: no-such-plugin, interactiveMode: Never}", ""),
        file("plugin is not started for http", config("server: '{P}'", "exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin, interactiveMode: Never}"), "plain").and("plugin", "#!/bin/sh\nexit 1\n"),
    ]
}

fn with_flags() -> Vec<Case> {
    let insecure = config("server: '{A}', insecure-skip-tls-verify: true", "token: t");
    let name = config(
        "server: '{B}', certificate-authority: ca.pem, tls-server-name: other.test",
        "token: t",
    );
    let two = "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}, {name: d, context: {cluster: k, user: v}}]\nclusters: [{name: k, cluster: {server: '{A}', certificate-authority: ca.pem}}, {name: l, cluster: {server: '{P}'}}]\nusers: [{name: u, user: {token: t}}, {name: v, user: {token: v}}]\n";
    let no_file = |case: Case| Case {
        files: Vec::new(),
        environment: Vec::new(),
        ..case
    };
    vec![
        flags("token flag", "token: t", &["--token=f"], "a Bearer f"),
        flags(
            "token flag and token file",
            "tokenFile: token",
            &["--token=f"],
            "a Bearer file-token",
        ),
        flags(
            "token flag and password",
            "username: name, password: w",
            &["--token=f"],
            "",
        ),
        flags(
            "token flag and certificate",
            "client-certificate: alice.pem, client-key: alice.key",
            &["--token=f"],
            "a cert=alice Bearer f",
        ),
        flags("empty token flag", "token: t", &["--token="], "a Bearer t"),
        flags(
            "impersonation by flags",
            "token: t",
            &["--as=bob", "--as-group=g"],
            "a Bearer t group=g user=bob",
        ),
        flags(
            "impersonated user by flag, groups by file",
            "token: t, as: x, as-groups: [g]",
            &["--as=bob"],
            "a Bearer t group=g user=bob",
        ),
        flags(
            "impersonated group by flag, user by file",
            "token: t, as: bob",
            &["--as-group=h"],
            "a Bearer t group=h user=bob",
        ),
        flags(
            "impersonated group by flag, without user",
            "token: t",
            &["--as-group=h"],
            "",
        ),
        flags("server flag", "token: t", &["--server={P}"], "plain"),
        flags(
            "empty server flag",
            "token: t",
            &["--server="],
            "a Bearer t",
        ),
        flags(
            "server flag with a path",
            "token: t",
            &["--server={A}/p"],
            "a/p Bearer t",
        ),
        flags("missing user by flag", "token: t", &["--user=x"], ""),
        flags("missing cluster by flag", "token: t", &["--cluster=x"], ""),
        flags("missing context by flag", "token: t", &["--context=x"], ""),
        flags(
            "other authority by flag",
            "token: t",
            &["--certificate-authority=other-ca.pem"],
            "",
        ),
        flags(
            "not verified by flag",
            "token: t",
            &["--insecure-skip-tls-verify"],
            "a Bearer t",
        ),
        flags(
            "not verified by flag, with an authority",
            "token: t",
            &[
                "--insecure-skip-tls-verify",
                "--certificate-authority=ca.pem",
            ],
            "",
        ),
        file(
            "authority by flag of a server that is not verified",
            insecure.clone(),
            "",
        )
        .flags(&["--certificate-authority=other-ca.pem"]),
        file("server flag drops the server name", name, "").flags(&["--server={B}"]),
        file("context flag", two, "a Bearer v").flags(&["--context=d"]),
        file("user flag", two, "a Bearer v").flags(&["--user=v"]),
        file("cluster flag", two, "plain").flags(&["--cluster=l"]),
        file("empty context flag", two, "a Bearer t").flags(&["--context="]),
        no_file(file("only flags", "", "a Bearer f").flags(&[
            "--server={A}",
            "--certificate-authority=ca.pem",
            "--token=f",
        ])),
        no_file(
            file("only a server without TLS", "", "plain")
                .flags(&["--server={P_HOST}", "--token=f"]),
        ),
        no_file(file("only a token", "", "").flags(&["--token=f"])),
    ]
}

fn proxies() -> Vec<Case> {
    let other = format!(
        "{}- {{name: other, cluster: {{server: 'https://x', proxy-url: 'http://127.0.0.1:1'}}}}\n",
        config("server: '{A}', certificate-authority: ca.pem", "token: t")
            .replace("clusters: [", "clusters:\n- ")
            .replace("}}]\nusers", "}}\nusers")
    );
    // The entry belongs to the list of clusters.
    let (before, users) = other.split_once("users:").expect("users");
    let (users, extra) = users.split_once("- ").expect("the entry");
    let other = format!("{before}- {extra}users:{users}");
    vec![
        proxied("proxy", "{PROXY}", "proxy api.test:443 > a Bearer t"),
        proxied(
            "proxy with credentials",
            "http://n:p%40w@{PROXY_HOST}",
            "proxy api.test:443 n:p@w > a Bearer t",
        ),
        proxied(
            "proxy with TLS",
            "https://{TLS_PROXY_HOST}",
            "tls-proxy api.test:443 > a Bearer t",
        ),
        proxied(
            "proxy with TLS and credentials",
            "https://n:w@{TLS_PROXY_HOST}",
            "tls-proxy api.test:443 n:w > a Bearer t",
        ),
        proxied(
            "SOCKS proxy",
            "socks5://{SOCKS_HOST}",
            "socks api.test:443 > a Bearer t",
        ),
        proxied(
            "SOCKS proxy with credentials",
            "socks5://n:w@{SOCKS_HOST}",
            "socks api.test:443 n:w > a Bearer t",
        ),
        proxied(
            "proxy with a path",
            "{PROXY}/path",
            "proxy api.test:443 > a Bearer t",
        ),
        proxied("proxy without scheme", "{PROXY_HOST}", ""),
        proxied("proxy with another scheme", "ftp://{PROXY_HOST}", ""),
        proxied("proxy that is no address", "http://", ""),
        proxied("proxy that cannot be reached", "http://127.0.0.1:1", ""),
        proxied("empty proxy", "", ""),
        cluster(
            "proxy of a local server",
            "server: '{A}', certificate-authority: ca.pem, proxy-url: '{PROXY}'",
            "proxy {A_HOST} > a Bearer t",
        ),
        cluster(
            "proxy and server with a port",
            "server: 'https://api.test:6443', certificate-authority: ca.pem, proxy-url: '{PROXY}'",
            "proxy api.test:6443 > a Bearer t",
        ),
        proxied(
            "kubeconfig's proxy is not subject to NO_PROXY",
            "{PROXY}",
            "proxy api.test:443 > a Bearer t",
        )
        .set("NO_PROXY", "*"),
        by_environment(
            "proxy by environment",
            &[("HTTPS_PROXY", "{PROXY}")],
            "proxy api.test:443 > a Bearer t",
        ),
        by_environment(
            "proxy by lower case variable",
            &[("https_proxy", "{PROXY}")],
            "proxy api.test:443 > a Bearer t",
        ),
        by_environment(
            "proxy by environment without scheme",
            &[("HTTPS_PROXY", "{PROXY_HOST}")],
            "proxy api.test:443 > a Bearer t",
        ),
        by_environment(
            "proxy by environment with credentials",
            &[("HTTPS_PROXY", "http://n:w@{PROXY_HOST}")],
            "proxy api.test:443 n:w > a Bearer t",
        ),
        by_environment(
            "SOCKS proxy by environment",
            &[("HTTPS_PROXY", "socks5://{SOCKS_HOST}")],
            "socks api.test:443 > a Bearer t",
        ),
        by_environment(
            "exception",
            &[("HTTPS_PROXY", "{PROXY}"), ("NO_PROXY", "x,.test")],
            "",
        ),
        by_environment(
            "lower case exception",
            &[("HTTPS_PROXY", "{PROXY}"), ("no_proxy", "api.test:443")],
            "",
        ),
        by_environment(
            "exception for another port",
            &[("HTTPS_PROXY", "{PROXY}"), ("NO_PROXY", "api.test:6443")],
            "proxy api.test:443 > a Bearer t",
        ),
        by_environment("proxy for http only", &[("HTTP_PROXY", "{PROXY}")], ""),
        by_environment("proxy for all", &[("ALL_PROXY", "{PROXY}")], ""),
        file(
            "local server has no proxy by environment",
            at_a("token: t"),
            "a Bearer t",
        )
        .set("HTTPS_PROXY", "http://127.0.0.1:1"),
        file("proxy of another cluster", other, "a Bearer t")
            .set("HTTPS_PROXY", "http://127.0.0.1:1")
            .set("NO_PROXY", "127.0.0.1"),
    ]
}
