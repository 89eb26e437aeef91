//! Provider faults: eso-sync reads from moto through a proxy that throttles, closes connections, rejects tokens and so on. The
//! verdicts must stay correct, and the number of calls must stay small.

mod aws;
mod moto;

use std::{collections::BTreeMap, ops::RangeInclusive};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    drift::verdicts,
    providers::proxy::{Asked, Proxy},
    support::{Outcome, Workspace, World, optional_variable},
};

/// A part of each value, and of the text of each error. It must not appear in any output.
const PLANTED: &str = "wonderwall-planted";

/// A fault and the expected result.
struct Case {
    name: &'static str,
    /// The ExternalSecrets that are checked; all if empty.
    only: Vec<String>,
    told: BTreeMap<String, String>,
    exit: i32,
    calls: Calls,
    /// The number of logins.
    logins: RangeInclusive<usize>,
    /// The number of stores that are reported as unreadable.
    unread: usize,
    /// Texts that the output must contain.
    says: Vec<String>,
}

/// The number of provider calls that a check may use.
enum Calls {
    Exactly(usize),
    AtMost(usize),
    /// This many without the fault, plus one for each call with the fault.
    OneMoreEach(usize),
}

impl Case {
    /// A fault that does not change the verdicts.
    fn passes(name: &'static str, told: &[(&str, &str)], calls: usize) -> Self {
        let told = told
            .iter()
            .map(|(name, verdict)| ((*name).to_owned(), (*verdict).to_owned()));
        Self {
            name,
            only: Vec::new(),
            told: told.collect(),
            exit: 1,
            calls: Calls::OneMoreEach(calls),
            logins: 0..=0,
            unread: 0,
            says: Vec::new(),
        }
    }

    /// A fault with which everything is unverifiable, for this reason.
    fn stays(self, reason: &str, calls: Calls, says: &str) -> Self {
        let mut told = self.told.clone();
        for (_, verdict) in told.iter_mut().filter(|(_, verdict)| *verdict != "missing") {
            *verdict = format!("unverifiable({reason})");
        }
        Self {
            told,
            exit: 3,
            calls,
            says: vec![says.to_owned()],
            ..self
        }
    }

    /// Checks only these ExternalSecrets.
    fn of(self, only: &[&str], calls: Calls) -> Self {
        let mut told = self.told;
        told.retain(|name, _| only.contains(&name.as_str()));
        Self {
            only: only.iter().map(|name| (*name).to_owned()).collect(),
            told,
            calls,
            ..self
        }
    }
}

/// Runs the drift check through this proxy, for these arguments.
async fn drift(proxy: &Proxy, selected: &[&str]) -> Outcome {
    let kubeconfig = optional_variable("ESO_SYNC_TEST_KUBECONFIG").expect("a kubeconfig");
    let mut bin = Workspace::new(vec!["--kubeconfig".to_owned(), kubeconfig]);
    bin.set("AWS_ENDPOINT_URL", &proxy.url);
    let always = ["drift", "-vvv", "-o", "json", "--credentials", "store"];
    bin.run(&[&always, selected].concat()).await
}

/// Returns the differences between the expected and the real result.
async fn differences(world: &World, proxy: &Proxy, case: &Case) -> Vec<String> {
    let only = case.only.iter().map(String::as_str);
    let selected: Vec<&str> = ["-n", &world.namespace].into_iter().chain(only).collect();
    let outcome = drift(proxy, &selected).await;
    let document = outcome.document();
    let mut wrong = Vec::new();
    let mut hold = |holds: bool, what: String| {
        if !holds {
            wrong.push(format!("{}: {what}", case.name));
        }
    };
    let told = verdicts(&document);
    hold(
        told == case.told,
        format!("the verdicts are {told:#?}, expected {:#?}", case.told),
    );
    hold(
        outcome.code == case.exit,
        format!("exit code {}", outcome.code),
    );
    let faults = proxy.faults();
    let (logins, calls): (Vec<Asked>, Vec<Asked>) =
        proxy.asked().into_iter().partition(Asked::is_login);
    let (calls, logins) = (calls.len(), logins.len());
    hold(faults > 0, "the fault did not occur".to_owned());
    let few = match case.calls {
        Calls::Exactly(count) => calls == count,
        Calls::AtMost(count) => calls <= count,
        Calls::OneMoreEach(without) => calls == without + faults,
    };
    hold(
        few,
        format!("{calls} calls, {faults} of them with the fault"),
    );
    hold(case.logins.contains(&logins), format!("{logins} logins"));
    let counted = document["summary"]["reads"].as_object().expect("reads");
    let counted: u64 = counted.values().filter_map(serde_json::Value::as_u64).sum();
    hold(
        counted == calls as u64,
        format!("{calls} calls are reported as {counted}"),
    );
    let unread = document["unread"].as_array().map_or(0, Vec::len);
    hold(
        unread == case.unread,
        format!("{unread} stores are reported as unread"),
    );
    for says in &case.says {
        hold(
            outcome.stdout.contains(says),
            format!("{says} is missing in the output: {document:#}"),
        );
    }
    wrong.extend(leaks(case.name, &outcome));
    wrong
}

/// Returns a line of output that contains a value or the provider's text, if any.
fn leaks(name: &str, outcome: &Outcome) -> Option<String> {
    let encoded = BASE64_STANDARD.encode(PLANTED);
    let said = [&outcome.stdout, &outcome.stderr];
    let mut lines = said.iter().flat_map(|said| said.lines());
    let leak = lines.find(|line| line.contains(PLANTED) || line.contains(&encoded))?;
    Some(format!("{name}: a value is printed: {leak}"))
}
