//! `guide`: filled in from a cluster that answers, with placeholders otherwise.

use std::net::TcpListener;

use crate::support::Workspace;

const PROVIDERS: [&str; 5] = ["aws", "azure", "gcp", "vault", "kubernetes"];

#[tokio::test]
async fn sandbox_fills_in_its_stores() {
    let workspace = Workspace::new(Vec::new());
    for (provider, names) in [
        ("aws", "ClusterSecretStore/aws-prod"),
        ("azure", "sandbox-prod"),
        ("gcp", "sandbox-prod"),
        ("vault", "https://vault.example:8200"),
    ] {
        let guide = workspace.run(&["guide", provider, "--sandbox"]).await;
        guide.exits(0);
        assert!(guide.stdout.contains(names), "{}", guide.stdout);
        assert!(
            guide.stdout.contains("Filled in from `the sandbox`"),
            "{}",
            guide.stdout
        );
    }
}

#[tokio::test]
async fn offline_asks_no_cluster_and_names_the_placeholders() {
    let workspace = Workspace::new(Vec::new());
    for provider in PROVIDERS {
        let guide = workspace.run(&["guide", provider, "--offline"]).await;
        guide.exits(0);
        assert!(guide.stdout.contains("\nReplace: `<"), "{}", guide.stdout);
        assert_eq!(guide.stderr, "");
    }
}

#[tokio::test]
async fn cluster_that_accepts_and_never_answers_leaves_placeholders() {
    let workspace = Workspace::new(Vec::new());
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = format!("http://{}", silent.local_addr().expect("an address"));
    let guide = workspace
        .run(&["guide", "aws", "--server", &server, "--token", "x"])
        .await;
    guide.exits(0);
    assert!(
        guide.stdout.contains("it did not answer within 3 s"),
        "{guide:?}"
    );
    assert!(
        guide.stdout.contains("CLUSTER='<name of the EKS cluster>'"),
        "{guide:?}"
    );
}

#[tokio::test]
async fn job_of_another_name_and_namespace_is_the_subject() {
    let workspace = Workspace::new(Vec::new());
    let guide = [
        "guide",
        "vault",
        "--offline",
        "-n",
        "ops",
        "--service-account",
        "reader",
    ];
    let guide = workspace.run(&guide).await;
    assert!(
        guide
            .stdout
            .contains("NAMESPACE=ops\nSERVICE_ACCOUNT=reader\n"),
        "{guide:?}"
    );
    let invalid = ["guide", "vault", "--offline", "--service-account", "a'b"];
    let invalid = workspace.run(&invalid).await;
    invalid.exits(2);
    assert!(
        invalid.stderr.contains("not a valid name"),
        "{}",
        invalid.stderr
    );
}
