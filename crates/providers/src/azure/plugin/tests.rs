//! Arguments. The logins are tested in `azure/tests/plugin.rs`.

use super::*;

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn read(arguments: &str, environment: &[(&str, &str)]) -> Result<Wanted, String> {
    let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
    parse(&arguments, &variables(environment))
}

fn shown(arguments: &str, environment: &[(&str, &str)]) -> Result<String, String> {
    read(arguments, environment).map(|wanted| {
        let login = match wanted.login {
            LoginBy::Secret {
                tenant,
                client,
                secret,
            } => format!("{client}:{secret}@{tenant}"),
            LoginBy::Token {
                tenant,
                client,
                file,
            } => format!("{client}={file}@{tenant}"),
            LoginBy::Machine { client, resource } => format!("{client:?} {resource:?}"),
        };
        format!("{} {login} {}", wanted.authority, wanted.scope)
    })
}

const SPN: &str =
    "get-token --login spn --server-id srv --client-id c --client-secret s --tenant-id t";
const PUBLIC: &str = "https://login.microsoftonline.com";

#[test]
fn arguments_and_environment_are_understood() {
    let spn = |what: &str| Ok(format!("{PUBLIC} {what} srv/.default"));
    assert_eq!(shown(SPN, &[]), spn("c:s@t"));
    // The environment takes precedence, and AZURE_ over AAD_.
    let both = [
        ("AAD_SERVICE_PRINCIPAL_CLIENT_ID", "c2"),
        ("AZURE_CLIENT_ID", "c3"),
        ("AAD_SERVICE_PRINCIPAL_CLIENT_SECRET", "s2"),
        ("AZURE_TENANT_ID", "t2"),
        ("ARM_CLIENT_ID", "other"),
    ];
    assert_eq!(shown(SPN, &both), spn("c3:s2@t2"));
    let terraform = [
        ("ARM_CLIENT_ID", "c4"),
        ("ARM_CLIENT_SECRET", "s4"),
        ("AZURE_CLIENT_ID", "no"),
    ];
    assert_eq!(
        shown(&format!("{SPN} --use-azurerm-env-vars"), &terraform),
        spn("c4:s4@t")
    );
    let china = format!("{SPN} -e AzureChinaCloud");
    assert_eq!(
        shown(&china, &[]),
        Ok("https://login.chinacloudapi.cn c:s@t srv/.default".to_owned())
    );
    // As the webhook of workload identity sets them.
    let webhook = [
        ("AAD_LOGIN_METHOD", "workloadidentity"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/token"),
        ("AZURE_AUTHORITY_HOST", "https://login.corp/"),
    ];
    assert_eq!(
        shown("get-token --server-id srv", &webhook),
        Ok("https://login.corp/ c=/token@t srv/.default".to_owned())
    );
    let machine = "get-token -l msi --server-id srv";
    assert_eq!(shown(machine, &[]), spn("None None"));
    let identity = format!("{machine} --client-id c --identity-resource-id /subscriptions/x");
    assert_eq!(
        shown(&identity, &[]),
        spn(r#"Some("c") Some("/subscriptions/x")"#)
    );
}

#[test]
fn what_needs_a_person_or_a_program_is_refused() {
    for login in ["azurecli", "devicecode", "interactive"] {
        let refused = shown(&format!("get-token --login {login} --server-id srv"), &[]);
        let why = format!(
            "--login {login} needs a person or another program. Possible are --login workloadidentity, spn (with a client secret) and msi"
        );
        assert_eq!(refused, Err(why));
    }
    // The login of kubelogin without a flag.
    assert!(
        shown("get-token --server-id srv", &[])
            .unwrap_err()
            .starts_with("--login devicecode needs")
    );
    for (arguments, why) in [
        (
            SPN.replace(" --server-id srv", ""),
            "the flag --server-id is missing",
        ),
        (
            SPN.replace(" --tenant-id t", ""),
            "the flag --tenant-id is missing",
        ),
        (
            SPN.replace(" --client-secret s", ""),
            "the client secret is missing (--client-secret or AZURE_CLIENT_SECRET); certificates are not supported",
        ),
        (
            format!("{SPN} --authority-host https://x"),
            "--authority-host belongs to --login workloadidentity",
        ),
        (
            format!("{SPN} --environment AzureStackCloud"),
            "--environment must be AzurePublicCloud, AzureUSGovernmentCloud or AzureChinaCloud",
        ),
        (
            SPN.replace("spn", "hunter2"),
            "--login has an unknown value. Possible are --login workloadidentity, spn (with a client secret) and msi",
        ),
        (
            SPN.replace("get-token", "convert-kubeconfig"),
            "argument 1 must be `get-token`",
        ),
    ] {
        assert_eq!(
            shown(&arguments, &[]).err().as_deref(),
            Some(why),
            "{arguments}"
        );
    }
    let legacy = shown(&format!("{SPN} --legacy"), &[]).unwrap_err();
    assert!(
        legacy.starts_with("the flag --legacy is not supported; supported are --login,"),
        "{legacy}"
    );
    let plain = "get-token -l workloadidentity --server-id s --client-id c -t t --federated-token-file f --authority-host http://corp";
    assert!(
        shown(plain, &[])
            .unwrap_err()
            .contains("must be an https address")
    );
}
