//! The keys of the target Secret that a change reaches, by the spec alone. Without the provider's data the names of some keys are not
//! known, and in doubt a key is among them.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use crate::{
    expected::{DataFrom, MergePolicy, MergeStrategy, Read, Spec, Template, of_data_from, of_ref},
    template::{Uses, uses},
};

/// The keys of a target Secret that a change reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// The keys whose names stand in the spec.
    pub keys: BTreeSet<String>,
    /// Where further keys come from. The spec does not have their names.
    pub more: BTreeSet<MoreKeys>,
}

/// The source of keys whose names are not in the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MoreKeys {
    /// `dataFrom.extract`: the members of the value.
    Extract,
    /// `dataFrom.find`: the secrets that it finds.
    Find,
    /// A template whose text computes names.
    Template,
}

/// Returns the keys that come from these reads, or from the template text in one of these Secrets.
pub fn reached(
    spec: &Spec,
    is_changed: impl Fn(&Read) -> bool,
    template_secrets: &BTreeSet<&str>,
) -> Reached {
    let read = of_reads(spec, is_changed);
    let Some(template) = &spec.target.template else {
        return read;
    };
    let of = Templated {
        spec,
        read: &read,
        template_secrets,
    };
    let mut reached = of.template(template);
    if template.merge_policy == MergePolicy::Merge || !template.has_data() {
        // A template replaces a key with its name.
        let kept = read.keys.iter();
        let kept = kept.filter(|key| !template.data.contains_key(*key));
        reached.keys.extend(kept.cloned());
        reached.more.extend(&read.more);
    }
    reached
}

/// The keys that the template gets as data.
fn of_reads(spec: &Spec, is_changed: impl Fn(&Read) -> bool) -> Reached {
    let mut reached = Reached::default();
    for entry in &spec.data {
        let read = of_ref(spec, entry.source_ref.as_ref(), &entry.remote_ref);
        if read.is_some_and(|read| is_changed(&read)) {
            reached.keys.insert(entry.secret_key.clone());
        }
    }
    for entry in &spec.data_from {
        if of_data_from(spec, entry).is_some_and(|read| is_changed(&read)) {
            match merged_into(entry) {
                Some(key) => drop(reached.keys.insert(key.to_owned())),
                None if entry.find.is_some() => drop(reached.more.insert(MoreKeys::Find)),
                None => drop(reached.more.insert(MoreKeys::Extract)),
            }
        }
    }
    reached
}

/// The only key of an entry whose last rewrite merges all values into one.
fn merged_into(entry: &DataFrom) -> Option<&str> {
    let merge = entry.rewrite.last()?.merge.as_ref()?;
    (merge.strategy == MergeStrategy::Json).then_some(&*merge.into)
}

/// What decides about the keys of a template.
struct Templated<'a> {
    spec: &'a Spec,
    /// The keys of the data that the change reaches.
    read: &'a Reached,
    template_secrets: &'a BTreeSet<&'a str>,
}

impl Templated<'_> {
    fn template(&self, template: &Template) -> Reached {
        let mut reached = Reached::default();
        for from in template.template_from.iter().filter(|from| is_data(from)) {
            let literal = from.get("literal").and_then(Json::as_str);
            if literal.is_some_and(|text| self.changes(text)) {
                reached.more.insert(MoreKeys::Template);
            }
            // The text in a ConfigMap is not known, so it may use everything that changes.
            items(from, "configMap", |_| self.has_changed(), &mut reached);
            let is_changed =
                |secret: &str| self.template_secrets.contains(secret) || self.has_changed();
            items(from, "secret", is_changed, &mut reached);
        }
        let changed = template.data.iter();
        let changed = changed.filter(|(_, text)| self.changes(text));
        reached.keys.extend(changed.map(|(key, _)| key.clone()));
        reached
    }

    fn has_changed(&self) -> bool {
        !self.read.keys.is_empty() || !self.read.more.is_empty()
    }

    /// True if a template with this text may use what changes.
    fn changes(&self, text: &str) -> bool {
        let used = match uses(text) {
            Uses::All => return self.has_changed(),
            Uses::Keys(used) => used,
        };
        used.iter().any(|key| {
            // A key of `data` replaces one of `dataFrom`.
            let is_single = || self.spec.data.iter().any(|entry| entry.secret_key == *key);
            self.read.keys.contains(key) || (!self.read.more.is_empty() && !is_single())
        })
    }
}

/// Adds the keys that the texts of a ConfigMap or Secret render, if the object has changed or uses what has.
fn items(
    from: &Map<String, Json>,
    field: &str,
    is_changed: impl Fn(&str) -> bool,
    reached: &mut Reached,
) {
    let text = |json: &Json, field: &str| {
        let text = json.get(field).and_then(Json::as_str);
        text.unwrap_or_default().to_owned()
    };
    let Some(reference) = from.get(field) else {
        return;
    };
    if !is_changed(&text(reference, "name")) {
        return;
    }
    let items = reference.get("items").and_then(Json::as_array);
    for item in items.into_iter().flatten() {
        if matches!(&*text(item, "templateAs"), "" | "Values") {
            reached.keys.insert(text(item, "key"));
        } else {
            reached.more.insert(MoreKeys::Template);
        }
    }
}

/// True if an entry of `templateFrom` is for data, and not for labels or annotations.
fn is_data(from: &Map<String, Json>) -> bool {
    let target = from.get("target").and_then(Json::as_str);
    let target = target.unwrap_or_default().to_ascii_lowercase();
    !matches!(&*target, "annotations" | "labels")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::expected::What;

    /// The keys that a change of the remote key `db`, or of the Secret `text`, reaches.
    fn of(mut spec: Json) -> String {
        spec["secretStoreRef"] = json!({"name": "s"});
        let spec = Spec::parse(&spec).unwrap();
        let is_changed = |read: &Read| match &read.what {
            What::Secret { key, .. } => key == "db",
            What::Find { .. } => true,
        };
        let reached = reached(&spec, is_changed, &BTreeSet::from(["text"]));
        let more = reached.more.iter().map(|more| format!("{more:?}"));
        let keys = reached.keys.into_iter();
        keys.chain(more).collect::<Vec<_>>().join(" ")
    }

    fn data() -> Json {
        json!([
            {"secretKey": "user", "remoteRef": {"key": "db", "property": "user"}},
            {"secretKey": "password", "remoteRef": {"key": "db", "property": "password"}},
            {"secretKey": "token", "remoteRef": {"key": "api"}},
        ])
    }

    #[test]
    fn keys_of_the_changed_remote_key_are_reached() {
        assert_eq!(of(json!({"data": data()})), "password user");
        let extract = |key: &str| json!([{"extract": {"key": key}}]);
        assert_eq!(of(json!({"dataFrom": extract("db")})), "Extract");
        assert_eq!(of(json!({"dataFrom": extract("api")})), "");
        let both = json!({"data": data(), "dataFrom": [{"find": {"name": {"regexp": "x"}}}]});
        assert_eq!(of(both), "password user Find");
        let merge = |strategy: &str| {
            let rewrite = json!([{"merge": {"into": "all", "strategy": strategy}}]);
            of(json!({"dataFrom": [{"extract": {"key": "db"}, "rewrite": rewrite}]}))
        };
        assert_eq!(merge("JSON"), "all");
        assert_eq!(merge("Extract"), "Extract");
    }

    #[test]
    fn keys_of_a_template_are_reached_if_their_text_uses_the_value() {
        let texts = json!({
            "url": "postgres://{{ .user }}@db", "token": "{{ .token }}", "plain": "x", "all": "{{ . | toJson }}",
        });
        let template = |more: Json| {
            let mut template = json!({"data": texts});
            template
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            of(json!({"data": data(), "target": {"template": template}}))
        };
        assert_eq!(template(json!({})), "all url");
        assert_eq!(
            template(json!({"mergePolicy": "Merge"})),
            "all password url user"
        );
        let labels =
            json!({"target": {"template": {"metadata": {"labels": {"a": "b"}}}}, "data": data()});
        assert_eq!(of(labels), "password user");
        let extract = json!({
            "data": [{"secretKey": "token", "remoteRef": {"key": "api"}}],
            "dataFrom": [{"extract": {"key": "db"}}],
            "target": {"template": {"data": texts}},
        });
        assert_eq!(of(extract), "all url");
    }

    #[test]
    fn templates_from_elsewhere_may_use_every_value() {
        let of = |from: Json, data: &Json| {
            let template = json!({"templateFrom": [from]});
            of(json!({"data": data, "target": {"template": template}}))
        };
        let items = |kind: &str, name: &str| json!({kind: {"name": name, "items": [{"key": "a"}, {"key": "b", "templateAs": "KeysAndValues"}]}});
        let other = json!([{"secretKey": "token", "remoteRef": {"key": "api"}}]);
        assert_eq!(of(items("configMap", "c"), &data()), "a Template");
        assert_eq!(of(items("secret", "s"), &data()), "a Template");
        assert_eq!(of(items("configMap", "c"), &other), "");
        assert_eq!(of(items("secret", "s"), &other), "");
        assert_eq!(of(items("secret", "text"), &other), "a Template");
        assert_eq!(
            of(json!({"literal": "k: {{ .user }}"}), &data()),
            "Template"
        );
        assert_eq!(of(json!({"literal": "k: {{ .token }}"}), &data()), "");
        let labels = json!({"target": "Labels", "literal": "k: {{ .user }}"});
        assert_eq!(of(labels, &data()), "");
    }
}
