//! Requests to a vault: paced, retried here alone, and with a new token where the old one ended before its time.

use std::{
    error::Error as _,
    sync::{Arc, Once, OnceLock},
    time::Duration,
};

use azure_core::{
    Error,
    error::ErrorKind,
    http::{
        ClientOptions, Response, RetryOptions, Transport, Url,
        headers::RETRY_AFTER,
        pager::{PagerContinuation, PagerOptions},
    },
};
use azure_security_keyvault_secrets::{
    SecretClient, SecretClientOptions,
    models::{
        ListSecretPropertiesResult, Secret, SecretClientGetSecretOptions,
        SecretClientListSecretPropertiesOptions,
    },
};
use futures::{TryStreamExt as _, future::BoxFuture};
use serde::Deserialize;
use tokio::sync::{Mutex, Semaphore};
use zeroize::Zeroize as _;

use super::{
    login::{Login, NoAssertion},
    settings::Cloud,
};
use crate::provider::{Turns, Unread, unread};

/// Requests at one time.
const CONCURRENT: usize = 8;

/// Attempts at a request that meets a server in trouble.
const FAILED: u32 = 4;

/// Attempts at one that is throttled.
const THROTTLED: u32 = 6;

/// The first pause before another attempt; each next one is twice as long, up to the longest of ours.
const PAUSE: Duration = Duration::from_millis(250);
const LONG_PAUSE: Duration = Duration::from_secs(1);

/// However long a server asks for, one does not wait longer.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// A vault.
pub(super) struct Client {
    vault: Url,
    login: Login,
    cloud: Cloud,
    transport: Transport,
    /// One for each token; it is replaced as a whole.
    connection: Mutex<Option<Arc<SecretClient>>>,
    /// The first request has the only one: it finds out whether, and how, one logs in.
    slots: Semaphore,
    opened: Once,
    /// Set once the vault cannot be reached, or does not let one in: nobody else tries.
    lost: OnceLock<Unread>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Problem {
    /// There is no such secret, or it is deleted.
    NotFound,
    /// It is disabled.
    Disabled,
    /// Anything else.
    Unread(Unread),
}

impl From<Unread> for Problem {
    fn from(unread: Unread) -> Self {
        Self::Unread(unread)
    }
}

impl Client {
    pub(super) fn new(vault: Url, login: Login, cloud: Cloud, http: reqwest::Client) -> Self {
        Self {
            vault,
            login,
            cloud,
            transport: Transport::new(Arc::new(http)),
            connection: Mutex::new(None),
            slots: Semaphore::new(1),
            opened: Once::new(),
            lost: OnceLock::new(),
        }
    }

    /// A secret.
    pub(super) async fn secret(
        &self,
        name: &str,
        version: &str,
        turns: &Turns,
    ) -> Result<Secret, Problem> {
        let version = (!version.is_empty()).then(|| version.to_owned());
        self.ask(turns, |client| {
            let secret_version = version.clone();
            Box::pin(async move {
                let options = SecretClientGetSecretOptions {
                    secret_version,
                    ..SecretClientGetSecretOptions::default()
                };
                let (_, _, body) = client.get_secret(name, Some(options)).await?.deconstruct();
                let secret = body.json();
                if let Ok(mut body) = bytes(body).try_into_mut() {
                    body.zeroize();
                }
                secret
            })
        })
        .await
    }

    /// A page of the list of all secrets, which holds no values.
    pub(super) async fn page(
        &self,
        next: Option<&Url>,
        turns: &Turns,
    ) -> Result<ListSecretPropertiesResult, Problem> {
        self.ask(turns, |client| {
            let options = SecretClientListSecretPropertiesOptions {
                method_options: PagerOptions {
                    continuation: next.cloned().map(PagerContinuation::Link),
                    ..PagerOptions::default()
                },
                ..SecretClientListSecretPropertiesOptions::default()
            };
            Box::pin(async move {
                let mut pages = client.list_secret_properties(Some(options))?.into_pages();
                let page = pages.try_next().await?;
                page.map_or_else(
                    || Ok(ListSecretPropertiesResult::default()),
                    Response::into_model,
                )
            })
        })
        .await
    }

    /// The page behind one. It has to be at the same vault: the token goes along.
    pub(super) fn next(&self, page: &ListSecretPropertiesResult) -> Result<Option<Url>, Unread> {
        let Some(link) = page.next_link.as_deref().filter(|link| !link.is_empty()) else {
            return Ok(None);
        };
        self.vault
            .join(link)
            .ok()
            .filter(|link| link.origin() == self.vault.origin())
            .map(Some)
            .ok_or_else(|| {
                let detail = "the next page of the list is said to be somewhere else";
                Unread::store(unread::UNREADABLE, detail)
            })
    }

    async fn ask<'a, T>(
        &self,
        turns: &Turns,
        request: impl Fn(Arc<SecretClient>) -> BoxFuture<'a, azure_core::Result<T>>,
    ) -> Result<T, Problem> {
        // It is not closed.
        let _slot = self.slots.acquire().await;
        let answer = self.tried(turns, request).await;
        self.opened
            .call_once(|| self.slots.add_permits(CONCURRENT - 1));
        answer
    }

    async fn tried<'a, T>(
        &self,
        turns: &Turns,
        request: impl Fn(Arc<SecretClient>) -> BoxFuture<'a, azure_core::Result<T>>,
    ) -> Result<T, Problem> {
        let mut client = self.connection(None).await?;
        let (mut attempt, mut pause, mut renewed) = (1, PAUSE, false);
        loop {
            if let Some(lost) = self.lost.get() {
                return Err(lost.clone().into());
            }
            turns.turn().await;
            let error = match request(Arc::clone(&client)).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let fault = Fault::of(&error);
            let (attempts, asked) = match fault {
                Fault::Final(problem) => return Err(self.kept(problem)),
                Fault::Token if renewed => {
                    let detail = "Key Vault takes no token of this identity";
                    return Err(self.kept(Unread::store(unread::LOGIN, detail).into()));
                }
                Fault::Token => {
                    client = self.connection(Some(&client)).await?;
                    renewed = true;
                    continue;
                }
                Fault::Throttled(after) => {
                    turns.throttled(after);
                    (THROTTLED, after)
                }
                Fault::Trouble(_) => (FAILED, None),
            };
            if attempt >= attempts {
                return Err(self.kept(fault.in_the_end()));
            }
            let wait = asked.unwrap_or_default().max(pause);
            tokio::time::sleep(wait.min(LONGEST_PAUSE)).await;
            pause = (pause * 2).min(LONG_PAUSE);
            attempt += 1;
        }
    }

    /// The connection, another one than `bad`: the SDK keeps a token until its time, whatever the vault says of it.
    async fn connection(
        &self,
        bad: Option<&Arc<SecretClient>>,
    ) -> Result<Arc<SecretClient>, Problem> {
        let mut connection = self.connection.lock().await;
        if let Some(present) = &*connection
            && bad.is_none_or(|bad| !Arc::ptr_eq(bad, present))
        {
            return Ok(Arc::clone(present));
        }
        let client_options = ClientOptions {
            retry: RetryOptions::none(),
            transport: Some(self.transport.clone()),
            cloud: Some(Arc::new(self.cloud.configuration())),
            ..ClientOptions::default()
        };
        let options = SecretClientOptions {
            client_options: client_options.clone(),
            ..SecretClientOptions::default()
        };
        let new = self
            .login
            .credential(client_options)
            .and_then(|login| SecretClient::new(self.vault.as_str(), login, Some(options)))
            .map_err(|_| {
                // Names of tenants and clients that are none, or an empty secret: its text may hold them.
                let detail = "the tenant, the client or its secret is none that Azure could have";
                self.kept(Unread::store(unread::LOGIN, detail).into())
            })?;
        let new = Arc::new(new);
        *connection = Some(Arc::clone(&new));
        Ok(new)
    }

    /// The same; and what is about the whole vault is kept for whoever asks next.
    fn kept(&self, problem: Problem) -> Problem {
        let Problem::Unread(unread) = &problem else {
            return problem;
        };
        if unread.whole_store {
            return self.lost.get_or_init(|| unread.clone()).clone().into();
        }
        problem
    }
}

fn bytes(body: azure_core::http::response::ResponseBody) -> azure_core::Bytes {
    body.into()
}

/// What went wrong.
enum Fault {
    /// There will be no other answer.
    Final(Problem),
    /// The token is not taken.
    Token,
    /// Too much was asked, and how long to wait.
    Throttled(Option<Duration>),
    /// It may go better the next time. If it does not, it may be this one secret, or the vault.
    Trouble(Unread),
}

impl Fault {
    fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::HttpResponse {
                status,
                raw_response,
                ..
            } => {
                let (code, after) = raw_response.as_ref().map_or((None, None), |raw| {
                    let after = raw.headers().get_optional_str(&RETRY_AFTER);
                    let after = after.and_then(|after| after.parse().ok());
                    (code(raw.body()), after.map(Duration::from_secs))
                });
                Self::of_status(u16::from(*status), code.as_deref(), after)
            }
            ErrorKind::Credential => Self::of_login(error),
            ErrorKind::Connection | ErrorKind::Io => {
                Self::Trouble(Unread::store(unread::UNAVAILABLE, cause(error)))
            }
            ErrorKind::DataConversion => {
                let detail = "Key Vault's answer makes no sense";
                Self::Final(Unread::secret(unread::UNREADABLE, detail).into())
            }
            // The check of the challenge: who asks for a token for something else is no vault of this name.
            ErrorKind::Other => {
                let detail = "what answers at vaultUrl is no Key Vault: it asks for a token for something else";
                Self::Final(Unread::store(unread::UNAVAILABLE, detail).into())
            }
        }
    }

    fn of_status(status: u16, code: Option<&str>, after: Option<Duration>) -> Self {
        let answered = match code {
            Some(code) => format!("Key Vault answered {status} ({code})"),
            None => format!("Key Vault answered {status}"),
        };
        Self::Final(match (status, code) {
            (401, _) => return Self::Token,
            (429, _) => return Self::Throttled(after),
            (500, _) => return Self::Trouble(Unread::secret(unread::UNAVAILABLE, answered)),
            (408 | 501..=599, _) => {
                return Self::Trouble(Unread::store(unread::UNAVAILABLE, answered));
            }
            (404, _) => Problem::NotFound,
            (403, Some("SecretDisabled")) => Problem::Disabled,
            (403, Some("ForbiddenByFirewall" | "ForbiddenByConnection")) => {
                let detail = format!("{answered}: its network rules do not let this address in");
                Unread::store(unread::DENIED, detail).into()
            }
            (403, _) => Unread::secret(unread::DENIED, answered).into(),
            (300..=399, _) => {
                let detail = format!("{answered}: a redirect is not followed");
                Unread::store(unread::UNAVAILABLE, detail).into()
            }
            _ => Unread::secret(unread::UNREADABLE, answered).into(),
        })
    }

    /// A login that failed: what failed stands below what the credential says of it.
    fn of_login(error: &Error) -> Self {
        let mut below = error.source();
        while let Some(error) = below {
            if let Some(NoAssertion(unread)) = error.downcast_ref() {
                let whole_store = true;
                return Self::Final(Problem::Unread(Unread {
                    whole_store,
                    ..unread.clone()
                }));
            }
            if let Some(error) = error.downcast_ref::<Error>() {
                match error.kind() {
                    ErrorKind::HttpResponse {
                        status, error_code, ..
                    } => {
                        return Self::of_refused_login(u16::from(*status), error_code.as_deref());
                    }
                    ErrorKind::Connection | ErrorKind::Io => {
                        let detail = format!("no login: {}", cause(error));
                        return Self::Trouble(Unread::store(unread::UNAVAILABLE, detail));
                    }
                    ErrorKind::DataConversion | ErrorKind::Credential | ErrorKind::Other => {}
                }
            }
            below = error.source();
        }
        Self::Final(Unread::store(unread::LOGIN, "Azure gives no token").into())
    }

    fn of_refused_login(status: u16, code: Option<&str>) -> Self {
        // Numbers of Entra's: its texts name tenants and applications, and more.
        let code = code.filter(|code| {
            code.bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b',')
        });
        let meaning = match code.and_then(|code| code.split(',').next()) {
            Some("7000215") => ": the client's secret is wrong",
            Some("7000222") => ": the client's secret has expired",
            Some("700016") => ": the tenant has no such client",
            Some("90002") => ": there is no such tenant",
            Some("70021" | "700211" | "700212" | "700213") => {
                ": no federated credential of the client's fits the service account"
            }
            _ => "",
        };
        let code = code.map_or_else(String::new, |code| format!(" (AADSTS{code}{meaning})"));
        let detail = format!("the login was answered with {status}{code}");
        match status {
            429 => Self::Throttled(None),
            500..=599 => Self::Trouble(Unread::store(unread::UNAVAILABLE, detail)),
            _ => Self::Final(Unread::store(unread::LOGIN, detail).into()),
        }
    }

    /// The problem that it is after the last attempt.
    fn in_the_end(self) -> Problem {
        match self {
            Self::Final(problem) => problem,
            Self::Token => Unread::store(unread::LOGIN, "the token is not taken").into(),
            Self::Throttled(_) => {
                let detail = "Key Vault answered 429 each time, also after having waited";
                Unread::secret(unread::THROTTLED, detail).into()
            }
            Self::Trouble(unread) => unread.into(),
        }
    }
}

/// The innermost code of an error of Key Vault's.
fn code(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        error: Fault,
    }
    #[derive(Deserialize)]
    struct Fault {
        code: Option<String>,
        innererror: Option<Box<Self>>,
    }
    let mut fault = serde_json::from_slice::<Body>(body).ok()?.error;
    while let Some(inner) = fault.innererror.take() {
        fault = *inner;
    }
    fault
        .code
        .filter(|code| code.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Why a request got no answer, as the system says it.
fn cause(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
