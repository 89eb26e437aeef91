//! The connection to a Kubernetes store's API server.

use std::time::Duration;

use async_trait::async_trait;
use cluster::{
    Address, ApiError, Cluster, ErrorKind, Repeat, Target,
    remote::{self, Login},
};
use tokio::time::Instant;

use crate::{
    Identity, Resolver, StoreSettings, Unread,
    credentials::TOKEN_LIFETIME,
    engine::{ErrorClass, Request, Service},
    trust::Origin,
    unread,
};

/// The operator's default address, and other addresses of the cluster that it runs in.
const OWN_ADDRESSES: [&str; 4] = [
    "https://kubernetes.default",
    "https://kubernetes.default.svc",
    "https://kubernetes.default.svc.cluster.local",
    "https://kubernetes",
];

/// An API server, as the engine calls it.
pub(super) struct Server {
    own: Cluster,
    namespace: String,
    /// The store's own credentials, which are resolved again at each login because tokens expire and Secrets change. None for the
    /// job's own credentials.
    credentials: Option<Credentials>,
}

struct Credentials {
    store: StoreSettings,
    resolver: Resolver,
}

impl Server {
    /// The server of a store. Sends no request.
    pub(super) fn of(
        store: &StoreSettings,
        identity: Identity<'_>,
        own: &Cluster,
        namespace: &str,
    ) -> Result<Self, Unread> {
        let credentials = match identity {
            Identity::Ambient(_) => {
                let server = store.at("/server/url").as_str().unwrap_or_default();
                if !is_own(server, own) {
                    return Err(Unread::store(
                        unread::NOT_TRUSTED,
                        "the job's own credentials are valid only in its own cluster, but this store reads from another cluster",
                    ));
                }
                None
            }
            Identity::Store(resolver) => Some(Credentials {
                store: store.clone(),
                resolver: resolver.clone(),
            }),
        };
        Ok(Self {
            own: own.clone(),
            namespace: namespace.to_owned(),
            credentials,
        })
    }
}

/// A connection, and when its token must be replaced.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) cluster: Cluster,
    renew: Option<Instant>,
}

impl Session {
    /// A connection with this lifetime of its token, which is replaced after 4/5 of it.
    fn new(cluster: Cluster, lifetime: Option<Duration>) -> Self {
        Self {
            cluster,
            renew: lifetime.and_then(|it| Instant::now().checked_add(it / 5 * 4)),
        }
    }
}

#[async_trait]
impl Service for Server {
    type Client = Session;
    type Error = ApiError;

    async fn connect(&self, refused: Option<&Session>) -> Result<Session, Unread> {
        match (&self.credentials, refused) {
            (Some(credentials), _) => credentials.connect(&self.own).await,
            (None, None) => Ok(Session::new(self.own.once(), None)),
            // There are no other credentials to try.
            (None, Some(_)) => Err(Unread::store(
                unread::CREDENTIALS_EXPIRED,
                "the API server rejects the job's own credentials",
            )),
        }
    }

    fn expires_soon(&self, session: &Session) -> bool {
        session.renew.is_some_and(|at| at <= Instant::now())
    }

    fn class(&self, error: &ApiError) -> ErrorClass {
        match (error.kind, error.repeat) {
            (ErrorKind::Unauthenticated, _) => ErrorClass::Expired,
            (ErrorKind::Unavailable, Repeat::Throttled(wait)) => ErrorClass::Throttled(wait),
            (ErrorKind::Unavailable, Repeat::Failed(wait)) => ErrorClass::Failed(wait),
            (ErrorKind::Unavailable, Repeat::NotSent) => ErrorClass::Unreachable,
            (ErrorKind::Unavailable, Repeat::Never) => ErrorClass::Misdirected,
            (ErrorKind::Unreadable, _) => ErrorClass::Unusable,
            (
                ErrorKind::Denied
                | ErrorKind::NotFound
                | ErrorKind::Conflict
                | ErrorKind::Expired
                | ErrorKind::Invalid
                | ErrorKind::TooLarge
                | ErrorKind::Over,
                _,
            ) => ErrorClass::Final,
        }
    }

    /// The server may belong to a tenant, so its own text is not repeated.
    fn unread(&self, error: &ApiError, request: &Request<'_>) -> Unread {
        match error.kind {
            ErrorKind::Denied => {
                let right = match request.key {
                    Some(key) => format!("{}/{key} in {}", request.call, self.namespace),
                    None => format!("{} in {}", request.call, self.namespace),
                };
                Unread::secret(unread::DENIED, "the API server denies the read").lacking(right)
            }
            ErrorKind::Unauthenticated if self.is_anonymous() => Unread::store(
                unread::LOGIN,
                "the API server requires credentials, and the store has no `auth`",
            ),
            ErrorKind::Unauthenticated => Unread::store(
                unread::CREDENTIALS_EXPIRED,
                "the API server rejects the credentials, also after they were fetched again: check that the token or certificate of the store is still valid there",
            ),
            ErrorKind::TooLarge => Unread::value_too_large(),
            ErrorKind::Over => Unread::too_much_data(),
            ErrorKind::Unavailable if let Some(problem) = error.certificate => {
                Unread::certificate(problem, error.trusted_message().unwrap_or_default())
            }
            ErrorKind::Unavailable => Unread::secret(
                unread::UNAVAILABLE,
                error.trusted_message().unwrap_or("the API server fails"),
            ),
            ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::Expired
            | ErrorKind::Invalid
            | ErrorKind::Unreadable => {
                Unread::secret(unread::UNREADABLE, "the API server's answer is invalid")
            }
        }
    }
}

impl Server {
    fn is_anonymous(&self) -> bool {
        let credentials = self.credentials.as_ref();
        credentials.is_some_and(|it| it.store.at("/auth").is_null())
    }
}

impl Credentials {
    async fn connect(&self, own: &Cluster) -> Result<Session, Unread> {
        if !self.store.at("/authRef").is_null() {
            return Err(Unread::store(
                unread::UNSUPPORTED,
                "a kubeconfig (`authRef`) is not supported",
            ));
        }
        let login = self.login().await?;
        let address = self.store.at("/server/url").as_str().unwrap_or_default();
        let server = if is_own(address, own) {
            None
        } else {
            Some(self.server(address, &login).await?)
        };
        // The lifetime of another token is not known.
        let is_requested = !self.store.at("/auth/serviceAccount").is_null();
        let connected = own.with_login(login, server).map_err(|error| {
            Unread::store(
                unread::LOGIN,
                format!("cannot connect to the API server: {error}"),
            )
        })?;
        let lifetime = is_requested.then_some(TOKEN_LIFETIME);
        Ok(Session::new(connected.once(), lifetime))
    }

    async fn login(&self) -> Result<Login, Unread> {
        let (store, resolver) = (&self.store, &self.resolver);
        if store.at("/auth").is_null() {
            return Ok(Login::Anonymous);
        }
        let given = ["token", "serviceAccount", "cert"]
            .iter()
            .filter(|method| !store.at(&format!("/auth/{method}")).is_null());
        if given.count() > 1 {
            return Err(Unread::store(
                unread::STORE,
                "`auth` has several methods: the operator refuses it",
            ));
        }
        let account = store.at("/auth/serviceAccount");
        if !store.at("/auth/token").is_null() {
            let token = resolver.secret_key(store.at("/auth/token/bearerToken"));
            Ok(Login::Token(token.await?))
        } else if !account.is_null() {
            let token = resolver.service_account_token(account, &[]);
            Ok(Login::Token(token.await?))
        } else if !store.at("/auth/cert").is_null() {
            let certificate = resolver.secret_key(store.at("/auth/cert/clientCert"));
            let key = resolver.secret_key(store.at("/auth/cert/clientKey"));
            Ok(Login::Certificate {
                certificate: certificate.await?,
                key: key.await?,
            })
        } else {
            Err(Unread::store(unread::STORE, "`auth` has no method"))
        }
    }

    async fn server(&self, address: &str, login: &Login) -> Result<remote::Server, Unread> {
        let authorities = self.resolver.ca_bundle(self.store.at("/server")).await?;
        let secure = authorities.is_some() || matches!(login, Login::Certificate { .. });
        // As in the operator's client.
        let default_scheme = if secure { "https" } else { "http" };
        let address = Address::new(address)
            .parse(default_scheme)
            .ok()
            .filter(Target::is_http)
            .ok_or_else(|| Unread::store(unread::STORE, "`server.url` is not a valid address"))?;
        Ok(remote::Server {
            address,
            authorities,
        })
    }
}

/// True if this is an address of the cluster that contains the stores.
fn is_own(address: &str, own: &Cluster) -> bool {
    if address.is_empty() {
        return true;
    }
    let whole = if address.contains("://") {
        address.to_owned()
    } else {
        format!("https://{address}")
    };
    let Ok(origin) = whole.parse::<Origin>() else {
        return false;
    };
    OWN_ADDRESSES
        .iter()
        .copied()
        .chain([own.server.expose()])
        .filter_map(|text| text.parse::<Origin>().ok())
        .any(|known| known == origin)
}

#[cfg(test)]
mod tests {
    use cluster::connect::connect_plain;
    use pace::rate::Rate;
    use serde_json::json;
    use tokio::time::advance;

    use super::*;

    /// Kubernetes gives tokens for ten minutes. Of any other credentials the lifetime is not known.
    #[tokio::test(start_paused = true)]
    async fn requested_token_is_renewed_before_it_expires() {
        let rate = Rate::per_second(1000.0).unwrap();
        let own = connect_plain("http://127.0.0.1:1", cluster::Access::ReadOnly, rate).unwrap();
        let settings = json!({});
        let key = eso_model::StoreKey::Cluster {
            name: "other".to_owned(),
        };
        let store = StoreSettings::new(key.clone(), "kubernetes", settings);
        let resolver = Resolver::new(own.clone(), key, "team-a");
        let server = Server::of(&store, Identity::Store(&resolver), &own, "default");
        let server = server.ok().unwrap();
        let requested = Session::new(own.clone(), Some(TOKEN_LIFETIME));
        let other = Session::new(own, None);
        assert!(!server.expires_soon(&requested));
        advance(TOKEN_LIFETIME / 5 * 4).await;
        assert!(server.expires_soon(&requested) && !server.expires_soon(&other));
    }
}
