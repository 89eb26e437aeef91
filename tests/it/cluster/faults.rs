//! A real server with the clouds' bad days: eso-sync asks moto through a proxy that throttles, breaks off, forgets tokens and so
//! on. Whatever happens, what is told is true, and the calls are few.

mod aws;
mod moto;

use std::{collections::BTreeMap, ops::RangeInclusive};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    drift::verdicts,
    providers::proxy::{Asked, Proxy},
    support::{Outcome, Workspace, World, optional_variable},
};

/// A part of each value, and of the text of each refusal. It is to be seen nowhere.
const PLANTED: &str = "wonderwall-planted";

/// A fault, and what is to be told then.
struct Case {
    name: &'static str,
    /// The ExternalSecrets that are looked at; all, if none is named.
    only: Vec<String>,
    told: BTreeMap<String, String>,
    exit: i32,
    calls: Calls,
    /// Calls that log in.
    logins: RangeInclusive<usize>,
    /// Stores that are told to be unreadable, each in one line.
    unread: usize,
    /// What is said of it.
    says: Vec<String>,
}

/// The calls that a check may take.
enum Calls {
    Exactly(usize),
    AtMost(usize),
    /// So many without the fault, and one more for each answer that met it.
    OneMoreEach(usize),
}

impl Case {
    /// One that changes nothing in what is told.
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

    /// With which nothing can be told, for this reason.
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

    /// Only these are looked at.
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

/// What the drift check says through this proxy, of what these arguments select.
async fn drift(proxy: &Proxy, selected: &[&str]) -> Outcome {
    let kubeconfig = optional_variable("ESO_SYNC_TEST_KUBECONFIG").expect("a kubeconfig");
    let mut bin = Workspace::new(vec!["--kubeconfig".to_owned(), kubeconfig]);
    bin.set("AWS_ENDPOINT_URL", &proxy.url);
    let always = ["drift", "-vvv", "-o", "json", "--credentials", "store"];
    bin.run(&[&always, selected].concat()).await
}

/// What is wrong with what was told.
async fn complaints(world: &World, proxy: &Proxy, case: &Case) -> Vec<String> {
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
        format!("told {told:#?}, and not {:#?}", case.told),
    );
    hold(
        outcome.code == case.exit,
        format!("exit code {}", outcome.code),
    );
    let faults = proxy.faults();
    let (logins, calls): (Vec<Asked>, Vec<Asked>) =
        proxy.asked().into_iter().partition(Asked::is_login);
    let (calls, logins) = (calls.len(), logins.len());
    hold(faults > 0, "no fault was met".to_owned());
    let few = match case.calls {
        Calls::Exactly(count) => calls == count,
        Calls::AtMost(count) => calls <= count,
        Calls::OneMoreEach(without) => calls == without + faults,
    };
    hold(
        few,
        format!("{calls} calls, of which {faults} met the fault"),
    );
    hold(case.logins.contains(&logins), format!("{logins} logins"));
    let counted = document["summary"]["reads"].as_object().expect("reads");
    let counted: u64 = counted.values().filter_map(serde_json::Value::as_u64).sum();
    hold(
        counted == calls as u64,
        format!("{calls} calls are told as {counted}"),
    );
    let unread = document["unread"].as_array().map_or(0, Vec::len);
    hold(
        unread == case.unread,
        format!("{unread} stores are told as unread"),
    );
    for says in &case.says {
        hold(
            outcome.stdout.contains(says),
            format!("{says} is not told: {document:#}"),
        );
    }
    wrong.extend(leaks(case.name, &outcome));
    wrong
}

/// Where a value, or a text of the provider's, was repeated.
fn leaks(name: &str, outcome: &Outcome) -> Option<String> {
    let encoded = BASE64_STANDARD.encode(PLANTED);
    let said = [&outcome.stdout, &outcome.stderr];
    let mut lines = said.iter().flat_map(|said| said.lines());
    let leak = lines.find(|line| line.contains(PLANTED) || line.contains(&encoded))?;
    Some(format!("{name}: a value is told: {leak}"))
}
