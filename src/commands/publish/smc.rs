//! `publish --from-smc`: reads the manifests, and converts them to a policy.

use std::io::Read as _;

use repository::smc::Manifests;
use secret::Value;
use serde_json::json;

use crate::{cli::PublishWhat, failure::Failure, foreign, publish::from_smc};

/// The largest input with manifests.
const LARGEST: u64 = 16 << 20;

/// The text of the policy that is equivalent to the manifests.
pub(super) fn policy(what: &PublishWhat) -> Result<String, Failure> {
    let mut all = Manifests::default();
    for path in &what.from_smc {
        let name = path.display().to_string();
        let content = content(path).map_err(|error| {
            Failure::usage(format!("--from-smc {}: {error}", foreign::line(&name)))
        })?;
        let found = repository::smc::parse(&name, content);
        all.configs.extend(found.configs);
        all.warnings.extend(found.warnings);
        all.faults.extend(found.faults);
    }
    let converted = from_smc::converted(&all.configs, &what.sops_key);
    let warnings = all.warnings.iter().map(ToString::to_string);
    for warning in warnings.chain(converted.warnings) {
        tracing::warn!("{}", foreign::line(&warning));
    }
    let faults = all.faults.iter().map(ToString::to_string);
    let faults: Vec<String> = faults
        .chain(converted.faults)
        .map(|fault| foreign::line(&fault))
        .collect();
    if !faults.is_empty() {
        return Err(Failure::usage(format!(
            "the manifests cannot be published:\n{}",
            faults.join("\n")
        )));
    }
    if converted.items.is_empty() {
        return Err(Failure::usage(
            "--from-smc: there is no SecretManagerConfig in the manifests",
        ));
    }
    let policy = json!({"publish": {"owner": what.owner, "items": converted.items}});
    serde_saphyr::to_string(&policy).map_err(|error| Failure::usage(error.to_string()))
}

/// The content of a file, or of stdin. It is wiped, because people put anything into files.
fn content(path: &std::path::Path) -> std::io::Result<Value> {
    let mut content = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin()
            .lock()
            .take(LARGEST)
            .read_to_end(&mut content)?;
    } else {
        std::fs::File::open(path)?
            .take(LARGEST)
            .read_to_end(&mut content)?;
    }
    Ok(Value::new(content))
}
