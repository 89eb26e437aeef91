//! The repository and the revision of an Application of Argo CD.

use cluster::{ErrorKind, Path};
use git::{Address, Revision};
use serde::Deserialize;

use super::{Opener, Wanted, address};
use crate::{
    policy::publish::{ArgoCdRevision, ArgoCdSource},
    publish::fault::Fault,
};

impl Opener<'_> {
    /// Reads the Application.
    pub(super) async fn application(&self, source: &ArgoCdSource) -> Result<Wanted, Fault> {
        let cluster = self.cluster.ok_or_else(Fault::no_cluster)?;
        let path = Path::api("argoproj.io", "v1alpha1")
            .collection(Some(&source.namespace), "applications")
            .named(&source.name);
        let found = cluster.get::<Application>(&path).await;
        let application = found.map_err(|error| {
            let is_missing = error.kind == ErrorKind::NotFound;
            let reason = if is_missing {
                "source-not-found"
            } else {
                "source-unread"
            };
            Fault::new(reason, error.to_string())
        })?;
        let (address, revision) = application.chosen(source)?;
        self.check(source, &address)?;
        Ok(Wanted {
            address,
            revision,
            secret: source.secret.clone(),
        })
    }

    /// Whoever edits an Application chooses its repository, so the policy and the flags must permit it.
    fn check(&self, source: &ArgoCdSource, address: &Address) -> Result<(), Fault> {
        let address = address.to_string();
        let refused = |what: &str, remedy: String| {
            let shown = crate::foreign::line(&address);
            let message = format!("the Application names `{shown}`, which {what}. {remedy}");
            Err(Fault::new("repository-not-allowed", message))
        };
        if !source.repos.iter().any(|glob| glob.matches(&address)) {
            let remedy = "Add it to `repos`, if it should be published".to_owned();
            return refused("`repos` does not contain", remedy);
        }
        let word = format!("git/{address}");
        match self.permitted {
            Some(globs) if !globs.iter().any(|glob| glob.matches(&word)) => {
                let remedy = format!("Add --allow-source {}", crate::foreign::line(&word));
                refused("is not permitted by --allow-source", remedy)
            }
            _ => Ok(()),
        }
    }
}

/// An Application, as far as it is needed.
#[derive(Deserialize)]
struct Application {
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(flatten)]
    sources: Sources,
    #[serde(default)]
    source_hydrator: Option<serde::de::IgnoredAny>,
}

/// One source or several; several win.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Sources {
    source: Option<Source>,
    sources: Vec<Source>,
}

#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Source {
    #[serde(rename = "repoURL")]
    repo_url: String,
    target_revision: String,
    chart: String,
    r#ref: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    sync: SyncStatus,
    history: Vec<Synced>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SyncStatus {
    status: String,
    revision: String,
    revisions: Vec<String>,
    compared_to: Sources,
}

/// A sync in the past.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Synced {
    revision: String,
    revisions: Vec<String>,
    #[serde(flatten)]
    sources: Sources,
}

impl Sources {
    /// All sources.
    fn all(&self) -> &[Source] {
        match (&*self.sources, &self.source) {
            ([], Some(source)) => std::slice::from_ref(source),
            (sources, _) => sources,
        }
    }
}

impl Application {
    /// The repository and the revision that the policy asks for.
    fn chosen(&self, asked: &ArgoCdSource) -> Result<(Address, Revision), Fault> {
        let unsupported = |what: &str| Err(Fault::new("source-unsupported", what));
        if self.spec.source_hydrator.is_some() {
            return unsupported(
                "the Application has a `sourceHydrator`, which is not supported: use the source `git` with the branch that you want",
            );
        }
        let (index, source) = self.source(asked.index)?;
        if !source.chart.is_empty() || source.repo_url.starts_with("oci://") {
            return unsupported(
                "the Application's source is a Helm chart or an OCI artifact, which contains no files of a repository",
            );
        }
        if !source.r#ref.is_empty() {
            return unsupported(
                "the Application's source has a `ref`: Argo CD takes only values for Helm from it. Use the source `git`",
            );
        }
        let revision = match asked.revision {
            ArgoCdRevision::Target => Revision::of(&source.target_revision),
            ArgoCdRevision::Synced => self.synced(index, source)?,
        };
        Ok((address(&source.repo_url)?, revision))
    }

    fn source(&self, index: Option<u32>) -> Result<(usize, &Source), Fault> {
        let sources = self.spec.sources.all();
        let ambiguous = |what: String| Err(Fault::new("source-ambiguous", what));
        match (sources, index) {
            ([source], None) => Ok((0, source)),
            (sources, Some(index)) => {
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                match sources.get(index) {
                    Some(source) => Ok((index, source)),
                    None => ambiguous(format!(
                        "the Application has {} sources, and the index {index} is too large: the first source has the index 0",
                        sources.len()
                    )),
                }
            }
            (sources, None) => ambiguous(format!(
                "the Application has {} sources: choose one with `index`, counted from 0",
                sources.len()
            )),
        }
    }

    /// The commit that was synced last from this source.
    fn synced(&self, index: usize, source: &Source) -> Result<Revision, Fault> {
        let SyncStatus {
            status,
            revision,
            revisions,
            compared_to,
        } = &self.status.sync;
        let newest = self.status.history.last();
        let (sources, revision, revisions) = match newest {
            _ if status == "Synced" => (compared_to, revision, revisions),
            // The revision in the status was compared, but is not synced.
            Some(newest) => (&newest.sources, &newest.revision, &newest.revisions),
            None => {
                return Err(Fault::new(
                    "source-not-ready",
                    "the Application was never synced. Sync it, or set `revision: target`",
                ));
            }
        };
        let is_same = |other: &Source| other.repo_url == source.repo_url;
        if !sources.all().get(index).is_some_and(is_same) {
            return Err(Fault::new(
                "source-not-ready",
                "the Application was not synced since its repository changed. Sync it, or set `revision: target`",
            ));
        }
        let revision = revisions.get(index).unwrap_or(revision);
        match Revision::of(revision) {
            commit @ Revision::Commit(_) => Ok(commit),
            Revision::Head | Revision::Named(_) => Err(Fault::new(
                "source-not-ready",
                "the Application's status does not name the commit that was synced",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const URL: &str = "https://git.example/team/app.git";

    fn chosen(application: &Json, more: Json) -> Result<String, &'static str> {
        let mut asked = json!({"namespace": "argocd", "name": "app", "repos": ["*"]});
        let more = serde_json::from_value::<serde_json::Map<_, _>>(more).unwrap();
        asked.as_object_mut().unwrap().extend(more);
        let application: Application = serde_json::from_value(application.clone()).unwrap();
        let chosen = application.chosen(&serde_json::from_value(asked).unwrap());
        let (address, revision) = chosen.map_err(|fault| fault.reason)?;
        Ok(match revision {
            Revision::Head => format!("{address} HEAD"),
            Revision::Named(name) => format!("{address} {name}"),
            Revision::Commit(id) => format!("{address} {id}"),
        })
    }

    fn source(url: &str) -> Json {
        json!({"repoURL": url, "targetRevision": "main", "path": "x"})
    }

    /// An Application with this status, compared with this source.
    fn application(status: &str, compared: &str, history: &Json) -> Json {
        json!({"spec": {"source": source(URL), "project": "default"}, "status": {
            "sync": {"status": status, "revision": A, "comparedTo": {"source": source(compared)}},
            "history": history,
        }})
    }

    #[test]
    fn what_was_synced_is_read_by_default() {
        let synced = application("Synced", URL, &json!([]));
        assert_eq!(chosen(&synced, json!({})), Ok(format!("{URL} {A}")));
        let target = chosen(&synced, json!({"revision": "target"}));
        assert_eq!(target, Ok(format!("{URL} main")));
        let head = json!({"spec": {"source": {"repoURL": URL}}});
        let target = chosen(&head, json!({"revision": "target"}));
        assert_eq!(target, Ok(format!("{URL} HEAD")));
    }

    #[test]
    fn a_commit_that_was_only_compared_is_not_read() {
        let history = json!([
            {"id": 0, "revision": A, "source": source(URL)},
            {"id": 1, "revision": B, "source": source(URL)},
        ]);
        let out_of_sync = application("OutOfSync", URL, &history);
        assert_eq!(chosen(&out_of_sync, json!({})), Ok(format!("{URL} {B}")));
        for (status, history) in [
            ("OutOfSync", json!([])),
            ("Unknown", json!([])),
            ("", json!([])),
        ] {
            let never = application(status, URL, &history);
            assert_eq!(chosen(&never, json!({})), Err("source-not-ready"));
        }
    }

    #[test]
    fn a_commit_of_another_repository_is_not_read() {
        let other = "https://git.example/old.git";
        let moved = application("Synced", other, &json!([]));
        assert_eq!(chosen(&moved, json!({})), Err("source-not-ready"));
        let history = json!([{"revision": B, "source": source(other)}]);
        let moved = application("OutOfSync", URL, &history);
        assert_eq!(chosen(&moved, json!({})), Err("source-not-ready"));
    }

    #[test]
    fn one_of_several_sources_is_chosen_by_its_index() {
        let several = json!([source("https://git.example/other"), source(URL)]);
        let application = json!({"spec": {"sources": several}, "status": {"sync": {
            "status": "Synced", "revisions": [A, B], "comparedTo": {"sources": several},
        }}});
        assert_eq!(
            chosen(&application, json!({"index": 1})),
            Ok(format!("{URL} {B}"))
        );
        assert_eq!(chosen(&application, json!({})), Err("source-ambiguous"));
        assert_eq!(
            chosen(&application, json!({"index": 2})),
            Err("source-ambiguous")
        );
        assert_eq!(
            chosen(&json!({"spec": {}}), json!({})),
            Err("source-ambiguous")
        );
    }

    #[test]
    fn sources_without_files_are_refused() {
        for source in [
            json!({"repoURL": "https://charts.example", "chart": "app"}),
            json!({"repoURL": "oci://registry.example/app"}),
            json!({"repoURL": URL, "ref": "values"}),
        ] {
            let application = json!({"spec": {"source": source}});
            let refused = chosen(&application, json!({"revision": "target"}));
            assert_eq!(refused, Err("source-unsupported"));
        }
        let hydrated =
            json!({"spec": {"source": source(URL), "sourceHydrator": {"drySource": {}}}});
        assert_eq!(chosen(&hydrated, json!({})), Err("source-unsupported"));
        let local = json!({"spec": {"source": source("file:///etc")}});
        assert_eq!(
            chosen(&local, json!({"revision": "target"})),
            Err("git-address")
        );
    }
}
