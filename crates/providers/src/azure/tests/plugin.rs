//! Logins of `kubelogin`, at the double of Entra.

use std::time::UNIX_EPOCH;

use cluster::native::Token;

use super::{
    http, job,
    service::{CLIENT, Service, TENANT},
};
use crate::azure::plugin::parse;

async fn token(
    service: &Service,
    arguments: &str,
    environment: &[(&str, &str)],
) -> Result<Token, String> {
    let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
    let wanted = parse(&arguments, &job(environment).environment)?;
    let token = wanted.token(http(service)).await;
    token.map_err(|unread| unread.why.detail)
}

#[tokio::test]
async fn entra_gives_a_token_for_the_server() {
    let service = Service::start().await;
    service.change(|state| state.resource = "srv".to_owned());
    let spn = format!("get-token -l spn --server-id srv --client-id {CLIENT} --tenant-id {TENANT}");
    let secret = [("AZURE_CLIENT_SECRET", "s3cret")];
    let issued = token(&service, &spn, &secret).await.unwrap();
    assert!(!issued.token.expose().is_empty());
    let left = issued.renewed.as_second()
        - i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    assert!((3500..3540).contains(&left), "{left}");
    let asked = service.logins().pop().unwrap();
    assert_eq!(asked.form("scope").as_deref(), Some("srv/.default"));
    // Each token is another one, as after a rejection.
    let other = token(&service, &spn, &secret).await.unwrap();
    assert_ne!(other.token.expose(), issued.token.expose());
    let wrong = token(&service, &spn, &[("AZURE_CLIENT_SECRET", "hunter2")]).await;
    let wrong = wrong.err().unwrap();
    assert!(
        wrong.contains("AADSTS7000215") && !wrong.contains("hunter2"),
        "{wrong}"
    );

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a.b.c").unwrap();
    let path = file.path().to_str().unwrap();
    let federated =
        format!("get-token -l workloadidentity --server-id srv --client-id {CLIENT} -t {TENANT}");
    token(
        &service,
        &federated,
        &[("AZURE_FEDERATED_TOKEN_FILE", path)],
    )
    .await
    .unwrap();

    let machine = format!("get-token -l msi --server-id srv --client-id {CLIENT}");
    token(&service, &machine, &[]).await.unwrap();
    let asked = service.machine.calls().pop().unwrap();
    assert_eq!(asked.query("resource").as_deref(), Some("srv"));
}
