use std::{fs, path::Path};

use super::*;

#[test]
fn the_table_in_the_documentation_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ceilings.md");
    let text = fs::read_to_string(path).unwrap();
    assert!(
        text.contains(&table()),
        "replace the table in docs/ceilings.md by:\n{}",
        table()
    );
}

#[test]
fn a_maximum_rate_names_a_provider_or_another_rate() {
    for text in [
        "vault=50/s",
        "azurekv=1/h",
        "default=20/s",
        "api-server=200/s",
        "restarts=30/min",
    ] {
        let MaxRate { of, rate } = text.parse().unwrap();
        assert_eq!(format!("{of}={rate}"), text);
    }
    assert_eq!(
        "azure=1/s".parse::<MaxRate>().unwrap().of.to_string(),
        "azurekv"
    );
    for text in [
        "",
        "vault",
        "vault=",
        "=1/s",
        "Vault=1/s",
        "vault=0/s",
        "a-b=1/s",
    ] {
        assert!(text.parse::<MaxRate>().is_err(), "{text}");
    }
}

#[test]
fn a_number_of_failures_is_compared_with_a_share() {
    let limit = |text: &str| text.parse::<FailureLimit>().unwrap();
    for (more, than) in [("21%", "20%"), ("3", "2"), ("3", "20%"), ("0%", "5")] {
        assert!(permits_more(limit(more), limit(than)), "{more} {than}");
    }
    for (less, than) in [("20%", "20%"), ("2", "2"), ("2", "20%"), ("0", "0%")] {
        assert!(!permits_more(limit(less), limit(than)), "{less} {than}");
    }
}

/// The API server's token is never sent because a flag is missing.
#[test]
fn only_its_own_word_allows_the_api_servers_token() {
    let with = |allow: Option<Vec<Capability>>| Ceilings {
        allow,
        ..Ceilings::default()
    };
    assert!(!with(None).allows_api_server_token());
    assert!(!with(Some(vec![Capability::Drift])).allows_api_server_token());
    assert!(with(Some(vec![Capability::ApiServerToken])).allows_api_server_token());
}
