//! How secrets are created, and which parts of that a provider has.

use std::collections::BTreeMap;

use eso_model::{ProviderKind, provider::NameRules};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// How secrets are created. Not changed later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Creation {
    /// Additional tags, labels or custom metadata.
    pub tags: BTreeMap<String, String>,
    /// AWS: the ID, ARN or alias of the KMS key. GCP: the resource name of the Cloud KMS key.
    pub kms_key: Option<String>,
    /// GCP: the locations of the replicas. Without any, Google chooses them.
    pub replication: Vec<String>,
    /// AWS Parameter Store: the tier. `advanced` costs money, and a parameter cannot return to `standard`.
    pub tier: Tier,
}

/// The tier of a parameter in AWS Parameter Store.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Up to 4 KiB.
    #[default]
    Standard,
    /// Up to 8 KiB.
    Advanced,
}

/// The start of the names of eso-sync's own tags.
const OURS: &str = "eso-sync";

/// What a provider accepts when a secret is created.
struct Parts {
    /// None if it has no tags.
    tags: Option<Tags>,
    has_key: bool,
    has_replication: bool,
    has_tier: bool,
}

/// The limits of tags. Some are left for those of eso-sync.
struct Tags {
    most: usize,
    name: fn(&str) -> bool,
    value: fn(&str) -> bool,
    rule: &'static str,
}

const AWS_TAGS: Tags = Tags {
    most: 45,
    name: |name| fits(name, 128) && !name.starts_with("aws:") && name.chars().all(is_of_aws),
    value: |value| value.chars().count() <= 256 && value.chars().all(is_of_aws),
    rule: "AWS permits 45 tags here, names of 128 and values of 256 letters, digits, spaces and `_.:/=+-@`, and no name that starts with `aws:`",
};

const GCP_LABELS: Tags = Tags {
    most: 64,
    name: |name| name.starts_with(|c: char| c.is_ascii_lowercase()) && is_label(name),
    value: is_label,
    rule: "Google permits 64 labels, with names and values of 63 lower-case letters, digits, `-` and `_`; a name starts with a letter",
};

const VAULT_METADATA: Tags = Tags {
    most: 48,
    name: |name| fits(name, 128),
    value: |value| fits(value, 512),
    rule: "Vault permits 48 entries of custom metadata here, with names of 128 and values of 512 bytes",
};

const AZURE_TAGS: Tags = Tags {
    most: 10,
    name: |name| fits(name, 256),
    value: |value| value.len() <= 256,
    rule: "Key Vault permits 10 tags here, with names and values of 256 characters",
};

fn fits(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
}

fn is_of_aws(c: char) -> bool {
    c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c)
}

fn is_label(text: &str) -> bool {
    let is_good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    text.len() <= 63 && text.bytes().all(is_good)
}

/// The parts of a provider. `settings` are those of a store.
fn parts(provider: &ProviderKind, settings: &Json) -> Parts {
    let none = Parts {
        tags: None,
        has_key: false,
        has_replication: false,
        has_tier: false,
    };
    let Some(publishing) = provider.facts().publishing else {
        return none;
    };
    match publishing.names {
        NameRules::SecretsManager => Parts {
            tags: Some(AWS_TAGS),
            has_key: true,
            ..none
        },
        NameRules::ParameterStore => Parts {
            tags: Some(AWS_TAGS),
            has_key: true,
            has_tier: true,
            ..none
        },
        NameRules::GcpSecretManager => Parts {
            tags: Some(GCP_LABELS),
            has_key: true,
            // A regional secret is in its location only.
            has_replication: is_global(settings),
            ..none
        },
        NameRules::VaultKv => Parts {
            // Version 1 of the KV engine has no metadata.
            tags: (settings["version"] != "v1").then_some(VAULT_METADATA),
            ..none
        },
        NameRules::KeyVault => Parts {
            tags: Some(AZURE_TAGS),
            ..none
        },
    }
}

fn is_global(settings: &Json) -> bool {
    settings["location"].as_str().unwrap_or_default().is_empty()
}

/// A part that a provider does not have, or does not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The part, as the policy names it.
    pub part: &'static str,
    pub why: String,
}

impl Creation {
    /// The parts that the provider does not have, or does not accept. `settings` are those of a store.
    pub fn unfit(&self, provider: &ProviderKind, settings: &Json) -> Vec<Unfit> {
        let parts = parts(provider, settings);
        let mut unfit = Vec::new();
        let mut report = |part: &'static str, why: String| unfit.push(Unfit { part, why });
        let lacks = |what: &str| format!("{provider} has no {what}");
        match &parts.tags {
            _ if self.tags.is_empty() => {}
            None => report("tags", lacks("tags")),
            Some(tags) => report_tags(self, tags, &mut report),
        }
        match &self.kms_key {
            Some(_) if !parts.has_key => report("kmsKey", lacks("keys to choose")),
            Some(key) if *provider == ProviderKind::GcpSecretManager => {
                if !is_cloud_kms(key) {
                    let why = "Google names keys `projects/…/locations/…/keyRings/…/cryptoKeys/…`";
                    report("kmsKey", why.to_owned());
                } else if self.replication.len() > 1 {
                    let why =
                        "a key is in one location, so it fits one location of `replication` only";
                    report("kmsKey", why.to_owned());
                }
            }
            Some(_) | None => {}
        }
        if !self.replication.is_empty() && !parts.has_replication {
            report("replication", lacks("replication to choose here"));
        }
        if self.tier != Tier::Standard && !parts.has_tier {
            report("tier", lacks("tiers"));
        }
        unfit
    }
}

fn report_tags(creation: &Creation, tags: &Tags, report: &mut impl FnMut(&'static str, String)) {
    let all = &creation.tags;
    let is_good = |(name, value): (&String, &String)| (tags.name)(name) && (tags.value)(value);
    if all.keys().any(|name| name.starts_with(OURS)) {
        let why = format!("names that start with `{OURS}` are those of eso-sync itself");
        report("tags", why);
    } else if all.len() > tags.most || !all.iter().all(is_good) {
        report("tags", tags.rule.to_owned());
    }
}

/// True for the name of a key of Cloud KMS.
fn is_cloud_kms(key: &str) -> bool {
    let parts: Vec<&str> = key.split('/').collect();
    matches!(
        *parts,
        [
            "projects",
            _,
            "locations",
            _,
            "keyRings",
            _,
            "cryptoKeys",
            _
        ]
    ) && parts.iter().all(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parts_of(
        creation: &Creation,
        provider: &ProviderKind,
        settings: &Json,
    ) -> Vec<&'static str> {
        let unfit = creation.unfit(provider, settings);
        unfit.into_iter().map(|unfit| unfit.part).collect()
    }

    #[test]
    fn each_provider_has_its_own_parts() {
        let all = Creation {
            tags: [("team".to_owned(), "shop".to_owned())].into(),
            kms_key: Some("projects/p/locations/l/keyRings/r/cryptoKeys/k".to_owned()),
            replication: vec!["europe-west1".to_owned()],
            tier: Tier::Advanced,
        };
        let of = |provider, settings| parts_of(&all, &provider, &settings);
        assert_eq!(
            of(ProviderKind::SecretsManager, json!({})),
            ["replication", "tier"]
        );
        assert_eq!(of(ProviderKind::ParameterStore, json!({})), ["replication"]);
        assert_eq!(of(ProviderKind::GcpSecretManager, json!({})), ["tier"]);
        assert_eq!(
            of(
                ProviderKind::GcpSecretManager,
                json!({"location": "europe-west1"})
            ),
            ["replication", "tier"]
        );
        assert_eq!(
            of(ProviderKind::Vault, json!({})),
            ["kmsKey", "replication", "tier"]
        );
        assert_eq!(
            of(ProviderKind::Vault, json!({"version": "v1"})),
            ["tags", "kmsKey", "replication", "tier"]
        );
        assert_eq!(
            of(ProviderKind::AzureKeyVault, json!({})),
            ["kmsKey", "replication", "tier"]
        );
        for provider in ProviderKind::KNOWN {
            assert!(parts_of(&Creation::default(), &provider, &json!({})).is_empty());
        }
    }

    #[test]
    fn tags_follow_the_rules_of_the_provider() {
        let of = |provider: ProviderKind, name: &str, value: &str| {
            let creation = Creation {
                tags: [(name.to_owned(), value.to_owned())].into(),
                ..Creation::default()
            };
            creation.unfit(&provider, &json!({})).is_empty()
        };
        assert!(of(ProviderKind::SecretsManager, "Team A", "x@y"));
        assert!(!of(ProviderKind::SecretsManager, "aws:team", "x"));
        assert!(!of(ProviderKind::GcpSecretManager, "Team", "x"));
        assert!(!of(ProviderKind::GcpSecretManager, "team", "a b"));
        assert!(of(ProviderKind::GcpSecretManager, "team", "a-b_1"));
        for provider in [
            ProviderKind::SecretsManager,
            ProviderKind::Vault,
            ProviderKind::GcpSecretManager,
        ] {
            assert!(!of(provider, "eso-sync-owner", "x"));
        }
    }

    #[test]
    fn key_of_google_is_a_resource_in_one_location() {
        let of = |key: &str, replication: &[&str]| {
            let creation = Creation {
                kms_key: Some(key.to_owned()),
                replication: replication
                    .iter()
                    .map(|&location| location.to_owned())
                    .collect(),
                ..Creation::default()
            };
            creation
                .unfit(&ProviderKind::GcpSecretManager, &json!({}))
                .is_empty()
        };
        let key = "projects/p/locations/l/keyRings/r/cryptoKeys/k";
        assert!(of(key, &[]) && of(key, &["l"]));
        assert!(!of(key, &["l", "m"]));
        assert!(!of("alias/a", &[]));
    }
}
