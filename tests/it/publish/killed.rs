//! `kill -9` between any two calls of a publication, at each provider.
//!
//! The process is killed at each call: before the provider gets it, and after the provider has carried it out. The next run reaches
//! the same end, with one version for each change, and the one after it writes nothing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use futures::{StreamExt as _, stream};
use serde_json::json;
use tokio::sync::Notify;

use super::{
    publish,
    targets::{KeyVault, ParameterStore, SecretManager, SecretsManager, Target, Vault},
};
use crate::{
    providers::proxy::{Asked, Fault, Script},
    support::{Workspace, World},
};

/// Cases that run at the same time. They mostly wait for the rate of writes.
const AT_ONCE: usize = 8;

#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn killed_publication_in_aws_is_completed_by_the_next_one() {
    every_kill_is_survived::<SecretsManager>().await;
}

#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn killed_publication_in_aws_parameter_store_is_completed_by_the_next_one() {
    every_kill_is_survived::<ParameterStore>().await;
}

#[tokio::test]
#[ignore = "needs OpenBao (tests/cluster/run)"]
async fn killed_publication_in_vault_is_completed_by_the_next_one() {
    every_kill_is_survived::<Vault>().await;
}

#[tokio::test]
async fn killed_publication_to_google_is_completed_by_the_next_one() {
    every_kill_is_survived::<SecretManager>().await;
}

#[tokio::test]
async fn killed_publication_to_azure_is_completed_by_the_next_one() {
    every_kill_is_survived::<KeyVault>().await;
}

/// The call at which a publication is killed. Calls before it is armed, and after it was reached, are not counted.
#[derive(Default)]
struct Kill {
    at: usize,
    /// True if the provider carries out the call before the process is killed.
    is_carried_out: bool,
    is_armed: AtomicBool,
    seen: AtomicUsize,
    reached: Arc<Notify>,
}

impl Kill {
    fn fault(&self) -> Fault {
        let is_armed = self.is_armed.load(Ordering::SeqCst);
        if !is_armed || self.seen.fetch_add(1, Ordering::SeqCst) != self.at {
            return Fault::None;
        }
        if self.is_carried_out {
            return Fault::Kept(Arc::clone(&self.reached));
        }
        self.reached.notify_one();
        Fault::Late
    }

    fn script(self: &Arc<Self>) -> Box<Script> {
        let kill = Arc::clone(self);
        Box::new(move |_: &Asked| kill.fault())
    }
}

/// What a publication does when it is killed.
#[derive(Clone, Copy, Debug)]
enum Scenario {
    /// It writes one changed and one new secret, and leaves an unchanged one.
    Write,
    /// It takes over the secrets of an item that the policy no longer has.
    Adopt,
    /// It deletes a secret that the repository no longer has, or announces that.
    Prune,
}

impl Scenario {
    /// Publishes, and changes what the next publication does.
    async fn prepare(self, workspace: &Workspace) {
        workspace.file("app.env", "CHANGED=one\nSAME=same\n");
        publish(workspace, &["--yes"]).await.exits(0);
        match self {
            Self::Write => workspace.file("app.env", "CHANGED=two\nNEW=new\nSAME=same\n"),
            Self::Adopt => {
                let path = workspace.path().join("policy.yaml");
                let policy = std::fs::read_to_string(path).expect("it was written");
                let renamed = policy.replace(
                    "- name: app\n",
                    "- name: renamed\n      write: {adopt: equal}\n",
                );
                workspace.file("policy.yaml", &renamed)
            }
            Self::Prune => {
                let path = workspace.path().join("policy.yaml");
                let policy = std::fs::read_to_string(path).expect("it was written");
                let prunes =
                    policy.replace("- name: app\n", "- name: app\n      prune: {mode: prune}\n");
                workspace.file("policy.yaml", &prunes);
                workspace.file("app.env", "SAME=same\n")
            }
        };
    }

    /// The arguments of all commands. Nothing is deleted without a cluster, in which the readers are known.
    async fn arguments(self) -> (Option<World>, Vec<String>) {
        match self {
            Self::Write | Self::Adopt => (None, Vec::new()),
            Self::Prune => {
                let world = World::sandbox().await;
                let server = world.api_server().0.to_owned();
                (Some(world), vec!["--server".to_owned(), server])
            }
        }
    }

    /// The names, values and numbers of versions in the end.
    const fn expected(self) -> &'static [(&'static str, &'static str, usize)] {
        match self {
            Self::Write => &[
                ("CHANGED", "two", 2),
                ("NEW", "new", 1),
                ("SAME", "same", 1),
            ],
            Self::Adopt => &[("CHANGED", "one", 1), ("SAME", "same", 1)],
            Self::Prune => &[("SAME", "same", 1)],
        }
    }
}

async fn every_kill_is_survived<T: Target>() {
    for scenario in [Scenario::Write, Scenario::Adopt, Scenario::Prune] {
        let calls = calls::<T>(scenario).await;
        assert!(calls >= 2, "{scenario:?}: a look, and a write: {calls}");
        let cases = (0..calls).flat_map(|at| [(at, false), (at, true)]);
        let survived = stream::iter(cases)
            .map(|(at, is_carried_out)| is_survived::<T>(scenario, at, is_carried_out));
        survived.buffer_unordered(AT_ONCE).collect::<()>().await;
    }
}

/// The calls of a publication that nobody kills.
async fn calls<T: Target>(scenario: Scenario) -> usize {
    let owner = unique();
    let target = T::start(&owner).await;
    let kill = Arc::new(Kill {
        at: usize::MAX,
        ..Kill::default()
    });
    let route = target.proxy(kill.script()).await;
    let (_world, arguments) = scenario.arguments().await;
    let workspace = target.workspace_with(arguments, &route, &owner);
    scenario.prepare(&workspace).await;
    kill.is_armed.store(true, Ordering::SeqCst);
    publish(&workspace, &["--yes"]).await.exits(0);
    kill.seen.load(Ordering::SeqCst)
}

async fn is_survived<T: Target>(scenario: Scenario, at: usize, is_carried_out: bool) {
    let owner = unique();
    let target = T::start(&owner).await;
    let kill = Arc::new(Kill {
        at,
        is_carried_out,
        ..Kill::default()
    });
    let route = target.proxy(kill.script()).await;
    let (_world, arguments) = scenario.arguments().await;
    let workspace = target.workspace_with(arguments, &route, &owner);
    scenario.prepare(&workspace).await;
    let before = route.asked().len();
    kill.is_armed.store(true, Ordering::SeqCst);
    let path = workspace.path().join("policy.yaml");
    let path = path.to_str().expect("UTF-8").to_owned();
    let running = workspace.start(&["publish", "--yes", "--config", &path]);
    kill.reached.notified().await;
    running.signal("KILL").await;
    running.end().await;
    kill.is_armed.store(false, Ordering::SeqCst);

    let call = &route.asked()[before + at].operation;
    let case = format!("{scenario:?} killed at call {at}, {call}, carried out: {is_carried_out}");
    let next = publish(&workspace, &["--yes", "-o", "json"]).await;
    assert_eq!(next.code, 0, "{case}: {}", next.stdout);
    for (name, wanted, versions) in scenario.expected() {
        let held = target.held(&format!("{owner}-{name}")).await;
        assert_eq!(
            held,
            ((*wanted).to_owned(), *versions),
            "{case}: {name}: {}",
            next.stdout
        );
    }
    let last = publish(&workspace, &["--yes", "-o", "json"])
        .await
        .document();
    let all = scenario.expected().len();
    let mut outcomes = vec![json!({"in-sync": all})];
    if matches!(scenario, Scenario::Prune) {
        // Where a deletion is final, it was announced.
        outcomes.push(json!({"in-sync": all, "left": 1}));
    }
    let outcome = &last["summary"]["outcomes"];
    assert!(outcomes.contains(outcome), "{case}: {last}");
}

/// The name of a publisher that no other test has.
fn unique() -> String {
    format!("killed-{:08x}", fastrand::u32(..))
}
