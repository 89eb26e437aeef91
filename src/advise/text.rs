//! The advice as tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use eso_model::duration::GoDuration;

use super::{
    document::{Advice, AdviceItem, AdviceRotation},
    rotation::RotationState,
    stores::AdviceStore,
    suggest::Verdict,
};
use crate::{
    foreign::{self, Foreign},
    noun::counted,
    report::{Header, fitted, view::View},
};

/// The columns of ExternalSecrets.
const ITEMS: [Header; 13] = [
    Header::name("NAMESPACE"),
    Header::name("NAME"),
    Header::name("STORE").left_out(8),
    Header::whole("INTERVAL"),
    Header::whole("READS/MONTH").left_out(6),
    Header::whole("$/MONTH").left_out(7),
    Header::whole("STALE (MEAN)").left_out(3),
    Header::whole("STALE (WORST)").left_out(5),
    Header::whole("QUOTA").left_out(1),
    Header::whole("OPERATOR").left_out(2),
    Header::whole("VERDICT"),
    Header::whole("SUGGESTED"),
    Header::whole("SAVES $/MONTH").left_out(4),
];

/// The columns of stores.
const STORES: [Header; 12] = [
    Header::name("STORE"),
    Header::name("PROVIDER").left_out(8),
    Header::whole("USED BY").left_out(4),
    Header::whole("READS/MONTH"),
    Header::whole("$/MONTH"),
    Header::whole("STALE (MEAN)").left_out(1),
    Header::whole("STALE (WORST)").left_out(3),
    Header::whole("QUOTA").left_out(9),
    Header::whole("OPERATOR").left_out(2),
    Header::whole("SUGGESTED READS").left_out(6),
    Header::whole("SUGGESTED $").left_out(7),
    Header::whole("SUGGESTED QUOTA").left_out(5),
];

/// The columns of keys, with `--rotation`.
const ROTATIONS: [Header; 6] = [
    Header::name("KEY"),
    Header::name("STORE").left_out(3),
    Header::whole("ROTATION"),
    Header::whole("EVERY"),
    Header::whole("NEXT").left_out(2),
    Header::whole("OVERLAP").left_out(1),
];

const DAY: u64 = 24 * 3600;

/// Renders the whole document.
pub fn text(advice: &Advice, view: &View) -> String {
    let mut text = String::new();
    if advice.items.is_empty() {
        text.push_str("No ExternalSecrets are selected.\n");
    } else {
        let screen = view.of_tables();
        text.push_str(&fitted(&ITEMS, advice.items.iter().map(row), screen));
        let rows = advice.stores.iter().map(store_row);
        let _ = write!(text, "\n{}", fitted(&STORES, rows, screen));
        let rotations = rotations(advice);
        if !rotations.is_empty() {
            let rows = rotations.iter().map(|rotation| rotation_row(rotation));
            let _ = write!(text, "\n{}", fitted(&ROTATIONS, rows, screen));
        }
    }
    for warning in &advice.warnings {
        let items = if warning.items.is_empty() {
            String::new()
        } else {
            format!(" ({})", foreign::first(view.names(), warning.items.iter()))
        };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n{}{items}: {}\n",
            warning.warning.into_str(),
            warning.message.terminal()
        );
    }
    for (why, keys) in unknown_rotations(advice) {
        let keys = foreign::first(view.names(), keys.into_iter());
        let _ = write!(text, "\n{}\n", not_looked_up(&keys, &why.terminal()));
    }
    for gap in &advice.gaps {
        let within = gap.namespace.as_ref();
        let within = within.map_or_else(String::new, |it| format!(" in {}", it.terminal()));
        let (what, why) = (gap.what.terminal(), gap.why.terminal());
        let _ = write!(text, "\ncould not read {what}{within}: {why}\n");
    }
    text.push_str(&ending(advice));
    text
}

fn dash() -> String {
    "-".to_owned()
}

/// The interval, or the policy that has none.
pub(super) fn interval(item: &AdviceItem) -> String {
    match (item.refresh_policy, item.interval_seconds) {
        ("Periodic", Some(seconds)) => duration(seconds),
        (policy, _) => policy.to_owned(),
    }
}

fn row(item: &AdviceItem) -> Vec<String> {
    let verdict = match item.reason {
        None => item.verdict.into_str().to_owned(),
        Some(reason) => format!("{} ({})", item.verdict.into_str(), reason.into_str()),
    };
    vec![
        item.namespace.terminal(),
        item.name.terminal(),
        item.store
            .as_ref()
            .map_or_else(dash, |store| store.name.terminal()),
        interval(item),
        format!("{:.0}", item.reads_per_month),
        item.usd_per_month.map_or_else(dash, dollars),
        item.mean_staleness_seconds.map_or_else(dash, duration),
        item.worst_staleness_seconds.map_or_else(dash, duration),
        item.quota_share.map_or_else(dash, percent),
        percent(item.operator_load),
        verdict,
        item.suggested_interval.clone().unwrap_or_else(dash),
        item.saved_usd_per_month.map_or_else(dash, dollars),
    ]
}

fn store_row(store: &AdviceStore) -> Vec<String> {
    vec![
        store.store.terminal(),
        store
            .provider
            .as_ref()
            .map_or_else(dash, |name| foreign::line(name)),
        store.external_secrets.to_string(),
        format!("{:.0}", store.reads_per_month),
        store.usd_per_month.map_or_else(dash, dollars),
        store.mean_staleness_seconds.map_or_else(dash, duration),
        store.worst_staleness_seconds.map_or_else(dash, duration),
        store.quota_share.map_or_else(dash, percent),
        percent(store.operator_load),
        format!("{:.0}", store.suggested_reads_per_month),
        store.suggested_usd_per_month.map_or_else(dash, dollars),
        store.suggested_quota_share.map_or_else(dash, percent),
    ]
}

/// The rotations of all items, each once.
fn rotations(advice: &Advice) -> BTreeSet<&AdviceRotation> {
    let items = advice.items.iter();
    items.flat_map(|item| &item.rotations).collect()
}

/// The keys whose rotations could not be looked up, by the reason. For a spec that is not known, the ExternalSecret.
pub(super) fn unknown_rotations(advice: &Advice) -> BTreeMap<Foreign, BTreeSet<Foreign>> {
    let mut unknown: BTreeMap<Foreign, BTreeSet<Foreign>> = BTreeMap::new();
    for item in &advice.items {
        for rotation in &item.rotations {
            if let (RotationState::Unknown, Some(why)) = (rotation.state, &rotation.why) {
                let of = unknown.entry(why.clone()).or_default();
                of.insert(match (&rotation.store, &rotation.key) {
                    (Some(store), Some(key)) => {
                        format!("{} ({})", key.exact(), store.exact()).into()
                    }
                    _ => format!("{}/{}", item.namespace.exact(), item.name.exact()).into(),
                });
            }
        }
    }
    unknown
}

/// Says that the rotations of these keys are not known.
pub(super) fn not_looked_up(keys: &str, why: &str) -> String {
    format!("could not look up the rotation of {keys}: {why}")
}

fn rotation_row(rotation: &AdviceRotation) -> Vec<String> {
    let text = |text: &Option<Foreign>| text.as_ref().map_or_else(dash, Foreign::terminal);
    let next = rotation.next.map_or_else(dash, |next| next.to_string());
    vec![
        text(&rotation.key),
        text(&rotation.store),
        rotation.state.into_str().to_owned(),
        rotation.period_seconds.map_or_else(dash, days),
        next,
        rotation.overlap_seconds.map_or_else(dash, days),
    ]
}

/// `30d`, or a Go duration if it is no number of days.
fn days(seconds: u64) -> String {
    if seconds > 0 && seconds.is_multiple_of(DAY) {
        format!("{}d", seconds / DAY)
    } else {
        GoDuration(Duration::from_secs(seconds)).to_string()
    }
}

/// The totals, one line each.
pub(super) fn totals(advice: &Advice) -> Vec<String> {
    let summary = &advice.summary;
    let counts: Vec<String> = <Verdict as strum::VariantArray>::VARIANTS
        .iter()
        .filter_map(|verdict| {
            let count = summary.verdicts.get(verdict)?;
            Some(format!("{count} {}", verdict.into_str()))
        })
        .collect();
    let colon = if counts.is_empty() { "" } else { ": " };
    vec![
        format!(
            "{}{colon}{}",
            counted(summary.external_secrets, "ExternalSecret"),
            counts.join(", ")
        ),
        format!(
            "Now: {:.0} reads and ${} a month, {} of the operator's time",
            summary.reads_per_month,
            dollars(summary.usd_per_month),
            percent(summary.operator_load)
        ),
        format!(
            "With the suggestions: {:.0} reads and ${} a month, {} of the operator's time",
            summary.suggested_reads_per_month,
            dollars(summary.suggested_usd_per_month),
            percent(summary.suggested_operator_load)
        ),
    ]
}

/// What the table ends with.
fn ending(advice: &Advice) -> String {
    let mut text = format!("\n{}\n", totals(advice).join("\n"));
    let prices: Vec<String> = advice
        .prices
        .iter()
        .map(|price| {
            let name = Foreign::from(&*price.provider).terminal();
            let of = source(&price.source, price.as_of);
            match price.usd_per_10_000 {
                Some(0.0) => format!("{name} free"),
                Some(usd) => format!("{name} ${usd} ({of})"),
                None => format!("{name} unknown (set advise.prices)"),
            }
        })
        .collect();
    if !prices.is_empty() {
        let _ = writeln!(text, "Prices of 10,000 reads: {}", prices.join("; "));
    }
    let quotas = advice.quotas.iter().filter_map(|quota| {
        let name = Foreign::from(&*quota.provider).terminal();
        let of = source(&quota.source, quota.as_of);
        Some(format!("{name} {} ({of})", quota.calls_per_second?))
    });
    let quotas: Vec<String> = quotas.collect();
    if !quotas.is_empty() {
        let _ = writeln!(text, "Quotas of reads per second: {}", quotas.join("; "));
    }
    let changed = advice
        .items
        .iter()
        .any(|item| item.suggested_interval.is_some());
    if changed {
        text.push_str("`--patch` prints the suggested intervals as patches for kustomize\n");
    }
    text
}

/// Where a price or a quota is from, and since when it is known.
fn source(source: &str, as_of: Option<&str>) -> String {
    let month = as_of.map_or_else(String::new, |month| format!(", {month}"));
    format!("{source}{month}")
}

pub(super) fn dollars(amount: f64) -> String {
    match amount {
        0.0 => "0".to_owned(),
        _ if amount.abs() < 0.01 => format!("{amount:.4}"),
        _ => format!("{amount:.2}"),
    }
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0 => "0 %".to_owned(),
        _ if percent < 0.01 => "<0.01 %".to_owned(),
        _ if percent < 1.0 => format!("{percent:.2} %"),
        _ => format!("{percent:.0} %"),
    }
}

fn duration(seconds: f64) -> String {
    let duration = Duration::try_from_secs_f64(seconds.round()).unwrap_or(Duration::MAX);
    GoDuration(duration).to_string()
}
