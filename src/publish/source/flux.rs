//! The artifact of a Flux GitRepository.

use std::time::Duration;

use cluster::Path;
use repository::Tree;
use serde::Deserialize;

use super::{Opened, Opener, without_credentials};
use crate::{policy::publish::FluxSource, publish::fault::Fault};

/// The longest time that an artifact may take.
const DOWNLOAD: Duration = Duration::from_mins(1);

/// The largest artifact, compressed.
const ARTIFACT: usize = 32 << 20;

/// The versions of Flux's API, newest first.
const VERSIONS: [&str; 2] = ["v1", "v1beta2"];

impl Opener<'_> {
    pub(super) async fn artifact(
        &self,
        flux: &FluxSource,
        is_needed: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Opened, Fault> {
        let mut last = self.described(flux).await?;
        // The artifact that an object named a moment ago may be collected already.
        for _ in 0..2 {
            let Artifact { url, digest, .. } = &last.artifact;
            match self.download(flux, url).await? {
                Some(archive) => {
                    let tree =
                        Tree::from_archive(&archive, digest, is_needed).map_err(Fault::of_file)?;
                    return Ok(Opened {
                        tree,
                        repository: last.repository,
                        revision: last.artifact.revision,
                        history: None,
                    });
                }
                None => last = self.described(flux).await?,
            }
        }
        Err(Fault::new(
            "artifact-not-found",
            "the source-controller no longer has the artifact that the GitRepository names. Run again later",
        ))
    }

    /// Reads the GitRepository.
    async fn described(
        &self,
        FluxSource { namespace, name }: &FluxSource,
    ) -> Result<Described, Fault> {
        let cluster = self.cluster.ok_or_else(Fault::no_cluster)?;
        let mut missing = None;
        for version in VERSIONS {
            let path = Path::api("source.toolkit.fluxcd.io", version)
                .collection(Some(namespace), "gitrepositories")
                .named(name);
            match cluster.get::<GitRepository>(&path).await {
                Ok(found) => return found.described(),
                Err(error) if error.kind == cluster::ErrorKind::NotFound => missing = Some(error),
                Err(error) => return Err(Fault::new("source-unread", error.to_string())),
            }
        }
        let why = missing.map(|error| error.to_string()).unwrap_or_default();
        Err(Fault::new("source-not-found", why))
    }

    /// Downloads an artifact; None if it does not exist.
    async fn download(&self, flux: &FluxSource, url: &str) -> Result<Option<Vec<u8>>, Fault> {
        let address: reqwest::Url = url
            .parse()
            .map_err(|_| Fault::new("artifact-address", "the artifact's address is not a URL"))?;
        if self.permitted.is_some() && !is_controller(&address, &flux.namespace) {
            return Err(Fault::new(
                "artifact-address",
                "the artifact is not at the source-controller of its namespace or of flux-system",
            ));
        }
        let failed = |error: &reqwest::Error| {
            let what = if error.is_timeout() || error.is_connect() {
                "the source-controller does not answer. Its NetworkPolicy may admit only Pods of its own namespace: add one that admits \
                 this Pod at port `http` of `app: source-controller`"
            } else {
                "the artifact could not be downloaded"
            };
            Fault::new("artifact-unavailable", what)
        };
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(DOWNLOAD)
            .no_proxy()
            .build()
            .map_err(|error| failed(&error))?;
        let mut answer = client
            .get(address)
            .send()
            .await
            .map_err(|error| failed(&error))?;
        match answer.status().as_u16() {
            200 => {}
            404 => return Ok(None),
            status => {
                let what = format!("the source-controller answered {status}");
                return Err(Fault::new("artifact-unavailable", what));
            }
        }
        let mut archive = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&error))? {
            if archive.len() + chunk.len() > ARTIFACT {
                return Err(Fault::new("too-large", "the artifact has more than 32 MiB"));
            }
            archive.extend_from_slice(&chunk);
        }
        Ok(Some(archive))
    }
}

/// True for `http://source-controller.NAMESPACE.svc.cluster.local./`, in the namespace of the object or the default one of Flux.
fn is_controller(address: &reqwest::Url, namespace: &str) -> bool {
    let host = address.host_str().unwrap_or_default();
    let host = host.strip_suffix('.').unwrap_or(host);
    let host = host.strip_suffix(".cluster.local").unwrap_or(host);
    let parts: Vec<&str> = host.split('.').collect();
    address.username().is_empty()
        && address.port_or_known_default() == Some(80)
        && matches!(*parts, ["source-controller", at, "svc"] if at == namespace || at == "flux-system")
}

/// A GitRepository, as far as it is needed.
#[derive(Deserialize)]
struct GitRepository {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    generation: i64,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default)]
    url: String,
    #[serde(default)]
    suspend: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    observed_generation: i64,
    conditions: Vec<Condition>,
    artifact: Option<Artifact>,
}

#[derive(Deserialize)]
struct Condition {
    r#type: String,
    status: String,
    #[serde(default)]
    reason: String,
}

#[derive(Clone, Deserialize)]
struct Artifact {
    url: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    revision: String,
}

struct Described {
    repository: String,
    artifact: Artifact,
}

impl GitRepository {
    /// The artifact, if it is the newest one.
    fn described(self) -> Result<Described, Fault> {
        let Self {
            metadata,
            spec,
            status,
        } = self;
        let ready = status
            .conditions
            .iter()
            .find(|condition| condition.r#type == "Ready");
        match ready {
            Some(ready) if ready.status == "True" => {}
            Some(ready) => {
                let reason = crate::foreign::line(&ready.reason);
                let what = format!("the GitRepository is not ready: {reason}");
                return Err(Fault::new("source-not-ready", what));
            }
            None => {
                return Err(Fault::new(
                    "source-not-ready",
                    "the GitRepository has no condition Ready: is the source-controller running?",
                ));
            }
        }
        if !spec.suspend && status.observed_generation != metadata.generation {
            return Err(Fault::new(
                "source-not-ready",
                "the source-controller has not seen the newest version of the GitRepository. Run again later",
            ));
        }
        let artifact = status
            .artifact
            .ok_or_else(|| Fault::new("source-not-ready", "the GitRepository has no artifact"))?;
        Ok(Described {
            repository: without_credentials(&spec.url),
            artifact,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_source_controller_serves_artifacts_under_ceilings() {
        let is = |url: &str| is_controller(&url.parse().unwrap(), "apps");
        for good in [
            "http://source-controller.flux-system.svc.cluster.local./gitrepository/apps/x/1.tar.gz",
            "http://source-controller.apps.svc/x.tar.gz",
        ] {
            assert!(is(good), "{good}");
        }
        for bad in [
            "http://source-controller.evil.svc.cluster.local/x",
            "http://169.254.169.254/latest",
            "http://source-controller.apps.svc:6443/x",
            "http://user@source-controller.apps.svc/x",
            "http://source-controller.apps.svc.evil.example/x",
        ] {
            assert!(!is(bad), "{bad}");
        }
    }

    fn repository(text: &str) -> Result<(String, String), String> {
        let object: GitRepository = serde_json::from_str(text).unwrap();
        let described = object
            .described()
            .map_err(|fault| fault.reason.to_owned())?;
        Ok((described.repository, described.artifact.revision))
    }

    #[test]
    fn an_artifact_is_used_only_if_it_is_the_newest() {
        let with = |generation: u8, observed: u8, ready: &str, artifact: &str| {
            repository(&format!(
                r#"{{"metadata": {{"generation": {generation}}}, "spec": {{"url": "https://user:hunter2@git.example/x"}},
                "status": {{"observedGeneration": {observed}, "conditions": [{{"type": "Ready", "status": "{ready}"}}]{artifact}}}}}"#
            ))
        };
        let artifact = r#", "artifact": {"url": "http://x", "digest": "sha256:0", "revision": "main@sha1:abc"}"#;
        let (repository, revision) = with(2, 2, "True", artifact).unwrap();
        assert!(!repository.contains("hunter2"), "{repository}");
        assert_eq!(revision, "main@sha1:abc");
        for (generation, observed, ready, artifact) in [
            (2, 1, "True", artifact),
            (2, 2, "False", artifact),
            (2, 2, "Unknown", artifact),
            (2, 2, "True", ""),
        ] {
            assert_eq!(
                with(generation, observed, ready, artifact).unwrap_err(),
                "source-not-ready"
            );
        }
    }
}
