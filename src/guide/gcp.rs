//! Google Cloud: bindings for the secrets that the ExternalSecrets read.

use std::collections::{BTreeMap, BTreeSet};

use super::{Context, KnownStore, Parts, shell};

/// The maximum number of secrets of a project that get a binding each.
const NAMED: usize = 50;

/// A project and a location, which is empty for global secrets.
type Place = (String, String);

/// What is read from one place.
#[derive(Default)]
struct Reads {
    secrets: BTreeSet<String>,
    /// True if secrets are searched, or labels are read.
    is_listed: bool,
    is_incomplete: bool,
}

pub(super) fn parts(context: &Context<'_>) -> Parts {
    let places = context
        .filled()
        .map_or_else(placeholders, |stores| places(&stores));
    let mut parts = Parts::default();
    parts.add("set", variables(context));
    let bindings: Vec<String> = places
        .iter()
        .map(|(place, reads)| reads.bindings(place))
        .collect();
    parts.add("bindings", bindings.join("\n"));
    parts.add("policy-of-secret", policy_of_secret(&places));
    parts
}

fn placeholders() -> BTreeMap<Place, Reads> {
    let reads = Reads {
        secrets: BTreeSet::from(["<name of each secret>".to_owned()]),
        is_listed: true,
        ..Reads::default()
    };
    BTreeMap::from([((PROJECT.to_owned(), String::new()), reads)])
}

const PROJECT: &str = "<project of the secrets>";

fn variables(context: &Context<'_>) -> String {
    let known = context.known.and_then(|known| known.context.as_deref());
    // The name that `gcloud container clusters get-credentials` gives a context.
    let parts: Vec<&str> = known.unwrap_or_default().split('_').collect();
    let project = match *parts {
        ["gke", project, _, _] => project,
        _ => "<project of the GKE cluster>",
    };
    format!(
        "{}\nCLUSTER_PROJECT={}",
        context.job_variables(),
        shell::word(project)
    )
}

fn places(stores: &[&KnownStore]) -> BTreeMap<Place, Reads> {
    let mut places: BTreeMap<Place, Reads> = BTreeMap::new();
    for store in stores {
        let project = match store.at("/projectID") {
            "" => PROJECT,
            project => project,
        };
        let place = (project.to_owned(), store.at("/location").to_owned());
        let reads = places.entry(place).or_default();
        reads.secrets.extend(store.keys.iter().cloned());
        let latest = store.at("/secretVersionSelectionPolicy") == "LatestOrFetch";
        reads.is_listed |= !store.searches.is_empty() || store.reads_metadata || latest;
        reads.is_incomplete |= !store.searches.is_empty() || store.is_incomplete;
    }
    places
}

/// The flags for secrets of a location.
fn location(place: &Place) -> String {
    match &*place.1 {
        "" => String::new(),
        location => format!(" --location {}", shell::word(location)),
    }
}

impl Reads {
    fn bindings(&self, place: &Place) -> String {
        let project = shell::word(&place.0);
        let to_member = "--member \"$MEMBER\" --condition None --role";
        let of_project = format!("gcloud projects add-iam-policy-binding {project} {to_member}");
        let accessor = "roles/secretmanager.secretAccessor";
        let mut text = if self.is_incomplete
            || self.secrets.is_empty()
            || self.secrets.len() > NAMED
        {
            format!(
                "# All secrets of the project: they are searched, or too many for a binding each.\n{of_project} {accessor}"
            )
        } else {
            let secrets: Vec<String> = self.secrets.iter().map(|it| shell::word(it)).collect();
            format!(
                "for SECRET in {}; do\n  gcloud secrets add-iam-policy-binding \"$SECRET\" --project {project}{} {to_member} {accessor}\ndone",
                secrets.join(" "),
                location(place)
            )
        };
        if self.is_listed {
            text.push_str(
                "\n# Names and labels, for `find`, `metadataPolicy: Fetch` or `LatestOrFetch`.\n",
            );
            text.push_str(&of_project);
            text.push_str(" roles/secretmanager.viewer");
        }
        text
    }
}

fn policy_of_secret(places: &BTreeMap<Place, Reads>) -> String {
    let first = places
        .iter()
        .find_map(|(place, reads)| Some((place, reads.secrets.first()?)));
    match first {
        Some((place, secret)) => format!(
            "gcloud secrets get-iam-policy {} --project {}{}",
            shell::word(secret),
            shell::word(&place.0),
            location(place)
        ),
        None => format!("gcloud secrets get-iam-policy '<name of a secret>' --project '{PROJECT}'"),
    }
}
