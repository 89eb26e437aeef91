//! The namespaces that a ClusterSecretStore allows, by the operator's rules.

use std::collections::BTreeMap;

use eso_model::expected::GoRegex;
use serde::Deserialize;

/// One entry of a ClusterSecretStore's `conditions`. A namespace is allowed if any part of any entry matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Matches the labels of the namespace.
    pub namespace_selector: Option<LabelSelector>,
    /// Exact names.
    pub namespaces: Vec<String>,
    /// Regular expressions. They are not anchored.
    pub namespace_regexes: Vec<String>,
}

/// A Kubernetes label selector. All of it must match; an empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    pub match_labels: BTreeMap<String, String>,
    /// Requirements on single labels.
    pub match_expressions: Vec<Requirement>,
}

/// One requirement of a [`LabelSelector`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Requirement {
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    pub values: Vec<String>,
}

/// The result for a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Allowed,
    Denied,
    /// Unknown without the labels of the namespace.
    LabelsUnknown,
    /// Unknown: a condition is not understood, and the operator may fail on it.
    NotUnderstood,
}

/// Decides if these conditions allow the namespace. Its labels may be unknown.
pub fn admits(
    conditions: &[Condition],
    namespace: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> Admission {
    if conditions.is_empty() {
        return Admission::Allowed;
    }
    let mut otherwise = Admission::Denied;
    // In the operator's order: an invalid condition ends the check before a later one can match.
    for condition in conditions {
        if let Some(selector) = &condition.namespace_selector {
            match (selector.matches(labels), labels) {
                (None, _) => return Admission::NotUnderstood,
                (Some(true), _) => return Admission::Allowed,
                (Some(false), Some(_)) => {}
                (Some(false), None) => otherwise = Admission::LabelsUnknown,
            }
        }
        if condition.namespaces.iter().any(|name| name == namespace) {
            return Admission::Allowed;
        }
        for pattern in &condition.namespace_regexes {
            match GoRegex::new(pattern) {
                Ok(regex) if regex.is_match(namespace) => return Admission::Allowed,
                Ok(_) => {}
                Err(_) => return Admission::NotUnderstood,
            }
        }
    }
    otherwise
}

impl LabelSelector {
    /// None if the selector is invalid. With unknown labels, true only if every namespace matches.
    fn matches(&self, labels: Option<&BTreeMap<String, String>>) -> Option<bool> {
        let mut all =
            labels.is_some() || (self.match_labels.is_empty() && self.match_expressions.is_empty());
        let label = |key: &str| labels.and_then(|labels| labels.get(key));
        for (key, value) in &self.match_labels {
            all &= label(key) == Some(value);
        }
        for Requirement {
            key,
            operator,
            values,
        } in &self.match_expressions
        {
            let listed = label(key).map(|value| values.contains(value));
            all &= match (operator.as_str(), values.is_empty()) {
                ("In", false) => listed == Some(true),
                ("NotIn", false) => listed != Some(true),
                ("Exists", true) => listed.is_some(),
                ("DoesNotExist", true) => listed.is_none(),
                _ => return None,
            };
        }
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn admission(conditions: serde_json::Value, labels: Option<&[(&str, &str)]>) -> Admission {
        let conditions: Vec<Condition> = serde_json::from_value(conditions).unwrap();
        let labels = labels.map(|labels| {
            labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        });
        admits(&conditions, "team-a", labels.as_ref())
    }

    #[test]
    fn namespace_is_allowed_if_any_part_matches() {
        let known = Some(&[("tier", "gold")][..]);
        for conditions in [
            json!([]),
            json!([{"namespaces": ["other"]}, {"namespaces": ["team-a"]}]),
            json!([{"namespaceSelector": {"matchLabels": {"tier": "tin"}}, "namespaces": ["team-a"]}]),
            json!([{"namespaceSelector": {"matchLabels": {"tier": "gold"}}, "namespaces": ["other"]}]),
            json!([{"namespaceSelector": {}}]),
            json!([{"namespaceSelector": {"matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["gold", "tin"]},
                {"key": "other", "operator": "NotIn", "values": ["x"]},
                {"key": "tier", "operator": "Exists"},
                {"key": "absent", "operator": "DoesNotExist"},
            ]}}]),
            // Regular expressions are not anchored.
            json!([{"namespaceRegexes": ["am-"]}]),
        ] {
            assert_eq!(
                admission(conditions.clone(), known),
                Admission::Allowed,
                "{conditions}"
            );
        }
    }

    #[test]
    fn namespace_is_denied_if_nothing_matches() {
        let known = Some(&[("tier", "gold")][..]);
        for conditions in [
            json!([{}]),
            json!([{"namespaces": ["team", "team-ab", "TEAM-A", "team-*"]}]),
            json!([{"namespaceRegexes": ["^team$", "x"]}]),
            json!([{"namespaceSelector": {"matchLabels": {"tier": "gold", "b": ""}}}]),
            json!([{"namespaceSelector": {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["gold"]}]}}]),
            json!([{"namespaceSelector": {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}}]),
        ] {
            assert_eq!(
                admission(conditions.clone(), known),
                Admission::Denied,
                "{conditions}"
            );
        }
    }

    #[test]
    fn without_labels_only_names_can_match() {
        let by_label = json!({"namespaceSelector": {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}});
        assert_eq!(admission(json!([by_label]), None), Admission::LabelsUnknown);
        assert_eq!(
            admission(json!([by_label, {"namespaces": ["team-a"]}]), None),
            Admission::Allowed
        );
        assert_eq!(
            admission(json!([{"namespaceSelector": {}}]), None),
            Admission::Allowed
        );
        assert_eq!(
            admission(json!([{"namespaces": ["b"]}]), None),
            Admission::Denied
        );
    }

    #[test]
    fn invalid_condition_ends_the_check_before_a_match() {
        for first in [
            json!({"namespaceRegexes": ["("]}),
            json!({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}),
            json!({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
        ] {
            let conditions = json!([first, {"namespaces": ["team-a"]}]);
            assert_eq!(admission(conditions, Some(&[])), Admission::NotUnderstood);
            let conditions = json!([{"namespaces": ["team-a"]}, first]);
            assert_eq!(admission(conditions, Some(&[])), Admission::Allowed);
        }
    }
}
