//! A token that ends while events are received. Google's emulator takes no tokens, so a double answers in its place.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use super::*;
use crate::double::{Call, Double, Reply};

const PLANTED: &str = "hunter2-planted";

/// The tokens that the double has issued.
#[derive(Default)]
struct Tokens {
    issued: usize,
    valid: BTreeSet<String>,
    /// True if new tokens are not accepted either.
    closed: bool,
}

fn answer(tokens: &mut Tokens, call: &Call) -> Reply {
    if call.path() == "/token" {
        tokens.issued += 1;
        let token = format!("token-{}", tokens.issued);
        if !tokens.closed {
            tokens.valid.insert(token.clone());
        }
        let body = json!({"access_token": token, "expires_in": 3600, "token_type": "Bearer"});
        return Reply::new(200, body).with("content-type", "application/json");
    }
    let token = call.header("authorization").strip_prefix("Bearer ");
    if token.is_some_and(|token| tokens.valid.contains(token)) {
        return Reply::new(200, json!({}));
    }
    let error = json!({"code": 401, "message": PLANTED, "status": "UNAUTHENTICATED"});
    Reply::new(401, json!({"error": error}))
}

/// A subscription at the double, with the login of a user.
async fn queue(double: &Double, folder: &std::path::Path) -> PubSub {
    let url = format!("http://{}", double.address);
    let key = json!({"type": "authorized_user", "client_id": "a", "client_secret": PLANTED, "refresh_token": PLANTED,
        "token_uri": format!("{url}/token")});
    let file = folder.join("key.json");
    std::fs::write(&file, key.to_string()).unwrap();
    let file = file.to_str().unwrap().to_owned();
    let ambient = Ambient {
        environment: [("GOOGLE_APPLICATION_CREDENTIALS".to_owned(), file)].into(),
        endpoints: vec![url.clone()],
        ..Ambient::default()
    };
    let server = Server {
        http: reqwest::Client::new(),
        address: url.parse().unwrap(),
        ambient: Some(ambient),
    };
    PubSub {
        engine: Engine::connected(server).await.unwrap(),
        limiter: limiter("projects/shop/subscriptions/eso-sync"),
        subscription: "projects/shop/subscriptions/eso-sync".to_owned(),
        exactly_once: AtomicBool::new(false),
    }
}

#[tokio::test]
async fn token_that_ends_is_renewed_once_and_then_reported() {
    let tokens = Arc::new(Mutex::new(Tokens::default()));
    let shared = Arc::clone(&tokens);
    let double = Double::plain(move |call| answer(&mut shared.lock().unwrap(), call)).await;
    let folder = tempfile::tempdir().unwrap();
    let queue = queue(&double, folder.path()).await;
    let receive = async || {
        queue
            .receive(10, Duration::from_mins(1), Duration::ZERO)
            .await
    };
    assert!(receive().await.unwrap().is_empty());
    assert_eq!(tokens.lock().unwrap().issued, 1);

    tokens.lock().unwrap().valid.clear();
    assert!(receive().await.unwrap().is_empty());
    assert_eq!(tokens.lock().unwrap().issued, 2);

    tokens.lock().unwrap().valid.clear();
    tokens.lock().unwrap().closed = true;
    for _ in 0..2 {
        let Err(unread) = receive().await else {
            panic!("the token is rejected");
        };
        assert_eq!(
            unread.why.to_string(),
            "credentials-expired (Pull: HTTP 401, also with a new token: check that the service account and its key still exist, and the time of this machine)"
        );
        assert!(unread.whole_store);
        assert!(!format!("{unread:?}").contains(PLANTED));
        assert_eq!(tokens.lock().unwrap().issued, 3, "it is not asked again");
    }
}
