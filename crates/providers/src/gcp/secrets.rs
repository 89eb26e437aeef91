//! Reads secrets, one version per call.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use eso_model::{
    expected::{Failure, Raw, What},
    rotation::{Rotation, Schedule},
    version::ReadVersion,
};
use futures::FutureExt as _;
use google_cloud_secretmanager_v1::{
    client::SecretManagerService,
    model::{self, AccessSecretVersionResponse, Secret},
};
use jiff::Timestamp;
use secret::Value;
use zeroize::Zeroize as _;

use super::{
    Settings,
    error::{GcpError, Kind},
    login::Login,
};
use crate::{
    Answered, Provider, RateLimiter, Unread,
    distinct::Distinct,
    engine::{self, Engine, ErrorClass, Request, Service, in_flight, in_order},
    unread,
};

/// The version that is read by default.
const LATEST: &str = "latest";

/// The service, as the engine calls it.
pub(super) struct SecretManager(Login);

#[async_trait]
impl Service for SecretManager {
    type Client = SecretManagerService;
    type Error = GcpError;

    async fn connect(
        &self,
        _refused: Option<&SecretManagerService>,
    ) -> Result<SecretManagerService, Unread> {
        self.0.client().await
    }

    fn class(&self, error: &GcpError) -> ErrorClass {
        error.class()
    }

    fn unread(&self, error: &GcpError, request: &Request<'_>) -> Unread {
        error.unread(request)
    }
}

/// The operator's result for a failed call.
fn answered(failure: engine::Failure<GcpError>, request: &Request<'_>) -> Answered {
    failure.answered(|error| error.answer(request))
}

/// A Secret Manager connection.
pub(super) struct Secrets {
    pub(super) engine: Engine<SecretManager>,
    pub(super) settings: Settings,
}

impl Secrets {
    pub(super) async fn connect(login: Login, settings: Settings) -> Result<Self, Unread> {
        Ok(Self {
            engine: Engine::connected(SecretManager(login)).await?,
            settings,
        })
    }

    /// `projects/P`, with the location if there is one.
    pub(super) fn parent(&self) -> String {
        let Settings {
            project, location, ..
        } = &self.settings;
        match location.as_str() {
            "" => format!("projects/{project}"),
            location => format!("projects/{project}/locations/{location}"),
        }
    }

    /// Treats `latest` as no version, unless the store's selection policy applies to requests without a version.
    fn ask(&self, what: &What) -> What {
        match what {
            What::Secret {
                key,
                version,
                metadata: false,
            } if version == LATEST && !self.settings.fetches_enabled() => What::Secret {
                key: key.clone(),
                version: String::new(),
                metadata: false,
            },
            What::Secret { .. } | What::Find { .. } => what.clone(),
        }
    }

    pub(super) fn name(&self, key: &str) -> String {
        format!("{}/secrets/{key}", self.parent())
    }

    /// `AccessSecretVersion`. Follows the store's selection policy if the newest version is disabled.
    pub(super) async fn value(&self, key: &str, version: &str, limiter: &RateLimiter) -> Answered {
        let asked = if version.is_empty() { LATEST } else { version };
        if !is_id(key) || !is_id(asked) {
            return Answered::Fails(Failure::Refused);
        }
        let secret = self.name(key);
        let access = Request::read("AccessSecretVersion", Some(&secret));
        let named = format!("{secret}/versions/{asked}");
        let mut answer = self.access(&access, &named, limiter).await;
        let disabled = matches!(
            &answer,
            Err(engine::Failure::Answer(error))
                if matches!(error.kind, Kind::Disabled | Kind::Destroyed)
        );
        if disabled && version.is_empty() && self.settings.fetches_enabled() {
            let list = Request::read("ListSecretVersions", Some(&secret)).listing();
            answer = match self.newest_enabled(&list, &secret, limiter).await {
                Ok(Some(version)) => self.access(&access, &version, limiter).await,
                Ok(None) => answer,
                Err(failure) => return answered(failure, &list),
            };
        }
        match answer {
            Ok(answer) => checked(answer),
            Err(failure) => answered(failure, &access),
        }
    }

    async fn access(
        &self,
        request: &Request<'_>,
        version: &str,
        limiter: &RateLimiter,
    ) -> Result<AccessSecretVersionResponse, engine::Failure<GcpError>> {
        self.engine
            .call(request, limiter, |client: SecretManagerService| {
                let call = client.access_secret_version().set_name(version);
                async move { call.send().await.map_err(|error| GcpError::of(&error)) }
            })
            .await
    }

    /// The name of the newest enabled version.
    async fn newest_enabled(
        &self,
        request: &Request<'_>,
        secret: &str,
        limiter: &RateLimiter,
    ) -> Result<Option<String>, engine::Failure<GcpError>> {
        let mut newest: Option<((i64, i32), String)> = None;
        let mut next = String::new();
        loop {
            let page = self
                .engine
                .call(request, limiter, |client: SecretManagerService| {
                    let call = client
                        .list_secret_versions()
                        .set_parent(secret)
                        .set_filter("state:ENABLED")
                        .set_page_token(next.clone());
                    async move { call.send().await.map_err(|error| GcpError::of(&error)) }
                })
                .await?;
            for version in page.versions {
                let made = version
                    .create_time
                    .map_or((0, 0), |time| (time.seconds(), time.nanos()));
                if newest.as_ref().is_none_or(|(latest, _)| made > *latest) {
                    newest = Some((made, version.name));
                }
            }
            next = page.next_page_token;
            if next.is_empty() {
                return Ok(newest.map(|(_, name)| name));
            }
        }
    }

    /// The secret without its versions.
    async fn resource(
        &self,
        name: &str,
        request: &Request<'_>,
        limiter: &RateLimiter,
    ) -> Result<Secret, engine::Failure<GcpError>> {
        self.engine
            .call(request, limiter, |client: SecretManagerService| {
                let call = client.get_secret().set_name(name);
                async move { call.send().await.map_err(|error| GcpError::of(&error)) }
            })
            .await
    }

    async fn rotation(&self, key: &str, limiter: &RateLimiter) -> Result<Rotation, Unread> {
        if !is_id(key) {
            let detail = "Google allows no secret with this name";
            return Err(Unread::secret(unread::UNREADABLE, detail));
        }
        let name = self.name(key);
        let request = Request::read("GetSecret", Some(&name)).listing();
        let secret = self.resource(&name, &request, limiter).await;
        secret
            .map(|secret| rotation(secret.rotation))
            .map_err(|failure| self.engine.unread(failure, &request))
    }

    /// Reads labels and annotations.
    async fn metadata(&self, key: &str, limiter: &RateLimiter) -> Answered {
        if !is_id(key) {
            return Answered::Fails(Failure::Refused);
        }
        let name = self.name(key);
        let request = Request::read("GetSecret", Some(&name)).listing();
        let answer = self.resource(&name, &request, limiter).await;
        let values = |map: std::collections::HashMap<String, String>| -> BTreeMap<String, Value> {
            map.into_iter()
                .map(|(key, value)| (key, Value::new(value.into_bytes())))
                .collect()
        };
        match answer {
            Ok(secret) => {
                let metadata = Raw::Metadata {
                    labels: values(secret.labels),
                    annotations: values(secret.annotations),
                };
                Answered::One(metadata, None)
            }
            Err(failure) => answered(failure, &request),
        }
    }

    async fn one(&self, what: What, limiter: &RateLimiter) -> (What, Answered) {
        let answer = match &what {
            What::Secret {
                key,
                metadata: true,
                ..
            } => self.metadata(key, limiter).await,
            What::Secret { key, version, .. } => self.value(key, version, limiter).await,
            What::Find { path, name, tags } => {
                self.find(path.as_deref(), name.as_deref(), tags.as_ref(), limiter)
                    .await
            }
        };
        (what, answer)
    }
}

#[async_trait]
impl Provider for Secrets {
    async fn read(&self, wanted: &[What], limiter: &RateLimiter) -> Vec<Answered> {
        let distinct = Distinct::of(wanted.iter().map(|what| self.ask(what)));
        let calls = distinct
            .asks()
            .map(|what| self.one(what.clone(), limiter).boxed());
        let answers = in_flight(calls.collect()).await;
        distinct.fan_out(answers)
    }

    async fn rotations(
        &self,
        keys: &[String],
        limiter: &RateLimiter,
    ) -> Vec<Result<Rotation, Unread>> {
        let asked = keys.iter().map(|key| self.rotation(key, limiter).boxed());
        in_order(asked.collect()).await
    }
}

/// A rotation that is only a reminder counts, too: somebody rotates the secret at about that time.
fn rotation(of: Option<model::Rotation>) -> Rotation {
    let Some(of) = of else {
        return Rotation::Unscheduled;
    };
    let next = of.next_rotation_time;
    let period = of.rotation_period.map(|period| period.seconds());
    let period = period.and_then(|seconds| u64::try_from(seconds).ok());
    let schedule = Schedule {
        next: next.and_then(|time| Timestamp::from_second(time.seconds()).ok()),
        period: period
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs),
    };
    if schedule == Schedule::default() {
        Rotation::Unscheduled
    } else {
        Rotation::Scheduled(schedule)
    }
}

/// True if the text is a valid id. Anything else must not become a part of a path; Google refuses it too.
pub(super) fn is_id(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=255).contains(&text.len()) && text.bytes().all(inner)
}

/// Returns the payload if its checksum matches. Its `Debug` shows the value, so it is not passed on.
fn checked(answer: AccessSecretVersionResponse) -> Answered {
    let number = answer.name.rsplit_once("/versions/");
    let version = ReadVersion {
        id: number.map(|(_, number)| number.to_owned()),
        resource: Some(answer.name),
        created: None,
    };
    let version = version.boxed();
    let Some(payload) = answer.payload else {
        return Answered::Fails(Failure::NoValue);
    };
    let value = Value::from(&payload.data[..]);
    let sum = i64::from(crc32c::crc32c(value.expose()));
    if let Ok(mut bytes) = payload.data.try_into_mut() {
        bytes.as_mut().zeroize();
    }
    match payload.data_crc32c {
        Some(sent) if sent != sum => Answered::Unread(Unread::secret(
            unread::UNREADABLE,
            "AccessSecretVersion: the checksum does not match",
        )),
        _ => Answered::One(Raw::Bytes(value), version),
    }
}

#[cfg(test)]
mod tests {
    use google_cloud_secretmanager_v1::model::SecretPayload;

    use super::*;

    #[test]
    fn payload_with_wrong_checksum_is_rejected() {
        // RFC 3720, appendix B.4: 32 bytes of zeros.
        let zeros = || SecretPayload::new().set_data(vec![0; 32]);
        let checked = |payload: Option<SecretPayload>| {
            let answer =
                AccessSecretVersionResponse::new().set_name("projects/1/secrets/db/versions/7");
            checked(answer.set_or_clear_payload(payload))
        };
        let good = i64::from(u32::from_be_bytes([0x8a, 0x91, 0x36, 0xaa]));
        let Answered::One(_, Some(version)) = checked(Some(zeros().set_data_crc32c(good))) else {
            panic!("expected a value with its version");
        };
        assert_eq!(version.id.as_deref(), Some("7"));
        assert!(matches!(checked(Some(zeros())), Answered::One(..)));
        let Answered::Unread(unread) = checked(Some(zeros().set_data_crc32c(good + 1))) else {
            panic!("expected a checksum error");
        };
        assert_eq!(unread.why.reason, unread::UNREADABLE);
        assert!(matches!(checked(None), Answered::Fails(Failure::NoValue)));
    }

    #[test]
    fn only_ids_become_path_segments() {
        for bad in ["", "a/b", "..", "a%2fb", "a?b", "ä", "a b"] {
            assert!(!is_id(bad), "{bad}");
        }
        assert!(is_id("db-password_1"));
    }
}
