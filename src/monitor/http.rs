//! One request to a receiver.

use std::time::Duration;

use reqwest::{Client, Url, header::HeaderMap};

/// The longest time for one attempt.
pub(super) const ATTEMPT: Duration = Duration::from_secs(2);

/// The pauses before the further attempts, which follow if nobody answered, or with HTTP 429 or 5xx.
const PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(900)];

/// A POST.
pub(super) struct Request {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// The time for one attempt.
    pub(super) attempt: Duration,
}

/// Sends a request, again if nobody answers or the server fails. The error does not quote the address.
pub(super) async fn tell(request: Request) -> Result<(), String> {
    let client = Client::builder()
        // Credentials of the address stay there.
        .redirect(reqwest::redirect::Policy::none())
        .timeout(request.attempt)
        .user_agent(concat!("eso-sync/", env!("CARGO_PKG_VERSION")))
        .build();
    let client = client.map_err(|_| "cannot set up TLS".to_owned())?;
    let mut pauses = PAUSES.iter();
    loop {
        let Err((is_temporary, why)) = once(&client, &request).await else {
            return Ok(());
        };
        match pauses.next().filter(|_| is_temporary) {
            Some(pause) => tokio::time::sleep(*pause).await,
            None => return Err(why),
        }
    }
}

/// Sends it once. The error says whether another attempt is worth it, and why it failed.
async fn once(client: &Client, request: &Request) -> Result<(), (bool, String)> {
    let post = client.post(request.url.clone());
    match post
        .headers(request.headers.clone())
        .body(request.body.clone())
        .send()
        .await
    {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => {
            let code = answer.status().as_u16();
            let is_temporary = answer.status().is_server_error() || code == 429;
            Err((is_temporary, format!("it answered HTTP {code}")))
        }
        Err(error) if error.is_timeout() => Err((true, "it does not answer in time".to_owned())),
        Err(error) if error.is_connect() => Err((true, "cannot connect to it".to_owned())),
        Err(_) => Err((true, "the connection failed".to_owned())),
    }
}
