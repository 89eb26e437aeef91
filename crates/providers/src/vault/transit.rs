//! The transit engine: `update` on `MOUNT/decrypt/KEY`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use eso_model::StoreKey;
use pace::rate::Rate;
use reqwest::Method;
use secret::Value;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    client::{Client, JSON, Outgoing},
    http,
    login::{self, Login},
    namespace, path,
    settings::Settings,
};
use crate::{Ambient, Identity, RateLimiter, StoreSettings, Unread, engine::Request};

/// Calls for a few keys.
const RATE: f64 = 10.0;

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    plaintext: String,
}

pub(crate) async fn decrypt(
    [server, mount, name]: [&str; 3],
    encrypted: &[u8],
    ambient: &Ambient,
) -> Result<Value, Unread> {
    // No host is trusted by default.
    ambient.may_go_to(server, &[])?;
    let key = StoreKey::Cluster {
        name: name.to_owned(),
    };
    let store = StoreSettings::new(key, "vault", json!({"server": server, "version": "v2"}));
    let identity = Identity::Ambient(ambient);
    let settings = Settings::of(&store.settings)?;
    let address = settings.server()?;
    let login = Login::of(&settings, identity)?;
    let of_job = namespace(login::namespace(&settings, identity).as_deref())?;
    let client = Client::new(
        http(&store, &settings, identity, &address).await?,
        address,
        settings.headers()?,
        [of_job.clone(), of_job],
        login,
    );
    let text = format!("{}/decrypt/{name}", mount.trim_matches('/'));
    let segments = path::segments(&text)?;
    let ciphertext = String::from_utf8_lossy(encrypted);
    let body = Value::new(json!({"ciphertext": ciphertext}).to_string().into_bytes());
    let outgoing = Outgoing {
        method: &Method::POST,
        body: Some(&body),
        content_type: JSON,
    };
    let request = Request::read("update", Some(&text));
    let limiter = RateLimiter::new(Rate::clamped(RATE));
    let sent = client.send(&segments, outgoing, &request, &limiter).await;
    let reply = sent.map_err(|failure| client.unread(failure, &request))?;
    if !reply.found {
        return Err(Unread::secret(
            crate::unread::UNREADABLE,
            "Vault has no such transit engine or key",
        ));
    }
    let invalid = || Unread::secret(crate::unread::UNREADABLE, "Vault's answer is invalid");
    let answer: Answer = serde_json::from_slice(reply.body.expose()).map_err(|_| invalid())?;
    let plaintext = Zeroizing::new(answer.data.plaintext);
    let decoded = STANDARD.decode(plaintext.as_bytes());
    decoded.map(Value::new).map_err(|_| invalid())
}
