//! How a Kubernetes store's API server is reached, and as whom.

use cluster::{
    Cluster,
    remote::{Login, Server},
};
use http::Uri;
use tokio::sync::Mutex;

use crate::{Identity, Resolver, StoreSettings, Unread, trust::Origin, unread};

/// The operator's default address, and what else means the cluster that it runs in.
const OWN: [&str; 4] = [
    "https://kubernetes.default",
    "https://kubernetes.default.svc",
    "https://kubernetes.default.svc.cluster.local",
    "https://kubernetes",
];

/// A connection, and how it is made anew.
pub(super) struct Session {
    present: Mutex<(Cluster, u32)>,
    again: Option<Again>,
}

/// The store's own credentials: a token expires, a Secret may hold another one by now.
struct Again {
    store: StoreSettings,
    resolver: Resolver,
    own: Cluster,
}

impl Session {
    /// Logs in; nothing is sent to the store's server yet.
    pub(super) async fn open(
        store: &StoreSettings,
        identity: Identity<'_>,
        own: &Cluster,
    ) -> Result<Self, Unread> {
        let (cluster, again) = match identity {
            Identity::Ambient(_) => {
                let server = store.at("/server/url").as_str().unwrap_or_default();
                if !is_own(server, own) {
                    return Err(Unread::store(
                        unread::NOT_TRUSTED,
                        "the job's own credentials are for its own cluster, and the store is in another",
                    ));
                }
                (own.clone(), None)
            }
            Identity::Store(resolver) => {
                let again = Again {
                    store: store.clone(),
                    resolver: resolver.clone(),
                    own: own.clone(),
                };
                (again.connect().await?, Some(again))
            }
        };
        Ok(Self {
            present: Mutex::new((cluster, 0)),
            again,
        })
    }

    /// The connection, and how often it was made anew.
    pub(super) async fn present(&self) -> (Cluster, u32) {
        self.present.lock().await.clone()
    }

    /// A connection that is younger than this, made now unless somebody else just did; nothing where there is nothing fresher.
    pub(super) async fn renewed(&self, age: u32) -> Result<Option<Cluster>, Unread> {
        let Some(again) = &self.again else {
            return Ok(None);
        };
        let mut present = self.present.lock().await;
        if present.1 == age {
            *present = (again.connect().await?, age + 1);
        }
        Ok(Some(present.0.clone()))
    }
}

impl Again {
    async fn connect(&self) -> Result<Cluster, Unread> {
        if !self.store.at("/authRef").is_null() {
            return Err(Unread::store(
                unread::UNSUPPORTED,
                "the store's kubeconfig (`authRef`) is not read",
            ));
        }
        let login = self.login().await?;
        let address = self.store.at("/server/url").as_str().unwrap_or_default();
        let server = if is_own(address, &self.own) {
            None
        } else {
            Some(self.server(address, &login).await?)
        };
        self.own.under(login, server).map_err(|error| {
            Unread::store(
                unread::LOGIN,
                format!("the API server cannot be connected to: {error}"),
            )
        })
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
                "`auth` names several methods, which the operator refuses",
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
            Err(Unread::store(unread::STORE, "`auth` names no method"))
        }
    }

    async fn server(&self, address: &str, login: &Login) -> Result<Server, Unread> {
        let authorities = self.resolver.ca_bundle(self.store.at("/server")).await?;
        let secure = authorities.is_some() || matches!(login, Login::Certificate { .. });
        let whole = match (address.contains("://"), secure) {
            (true, _) => address.to_owned(),
            // As the operator's client does.
            (false, true) => format!("https://{address}"),
            (false, false) => format!("http://{address}"),
        };
        let parsed = whole.parse::<Uri>().ok();
        let address = parsed
            .filter(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
            })
            .ok_or_else(|| Unread::store(unread::STORE, "`server.url` is no address"))?;
        Ok(Server {
            address,
            authorities,
        })
    }
}

/// Whether this address means the cluster that the stores are in.
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
    OWN.iter()
        .copied()
        .chain([own.server.as_str()])
        .filter_map(|text| text.parse::<Origin>().ok())
        .any(|known| known == origin)
}
