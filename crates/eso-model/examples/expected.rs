//! Computes what the operator would write for one ExternalSecret, from provider values in a file.
//!
//! It prints the keys with digests of their values, never the values. But the data hash is not keyed: somebody who knows it
//! can test guesses. So use made-up values, or keep the output of real ones to yourself.
//!
//! ```text
//! cargo run -p eso-model --example expected
//! cargo run -p eso-model --example expected -- EXTERNAL-SECRET.yaml VALUES.yaml
//! ```

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::Write as _,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use eso_model::{
    DATA_HASH, GROUP, ProviderKind, StoreKind,
    budget::Budget,
    digest::{Algorithm, Metadata, synced_resource_version},
    expected::{
        Answer, Content, Effect, Expected, Failure, NotComputable, Raw, Read, Spec, StoreRef,
        Template, Templates, Unverifiable, What, WouldFail, data_hash, expected, why,
    },
    provider::Payload,
    template::{self, Data, render, render_keys_and_values},
};
use secret::{RunKey, Value};
use serde_json::{Map, Value as Json};

const USAGE: &str = "\
usage: expected [EXTERNAL-SECRET.yaml VALUES.yaml]

Without arguments it uses its own example files.
";

/// The algorithm of operator v0.16.2 and later.
const ALGORITHM: Algorithm = Algorithm::Sha3_224;

/// The key of the printed digests. It is constant, so that the output is always the same. A program that handles real values
/// must use random bytes.
const KEY: [u8; 32] = [0; 32];

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let printed = run(&arguments).and_then(|report| {
        let written = io::stdout().write_all(report.as_bytes());
        written.map_err(|error| format!("cannot write the output: {error}"))
    });
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // If this fails too, the exit code remains.
            drop(writeln!(io::stderr(), "error: {message}"));
            ExitCode::FAILURE
        }
    }
}

/// Returns the output, or the message of an error.
pub(crate) fn run(arguments: &[OsString]) -> Result<String, String> {
    let (external_secret, values) = match arguments {
        [] => (
            File::embedded("external-secret.yaml", include_str!("external-secret.yaml")),
            File::embedded("values.yaml", include_str!("values.yaml")),
        ),
        [help] if help == "-h" || help == "--help" => return Ok(USAGE.to_owned()),
        [external_secret, values] => (File::read(external_secret)?, File::read(values)?),
        _ => return Err(format!("give two files, or none\n\n{USAGE}")),
    };
    let object = Object::parse(&external_secret)?;
    let stores = stores(&values)?;
    let made = expected(
        &object.spec,
        |read| answer(&stores, read),
        &Rendering,
        &Budget::default(),
    );
    let made = made.map_err(|error| match error {
        NotComputable::Unverifiable(it) => format!("cannot compute the operator's result: {it}"),
        NotComputable::WouldFail(it) => format!("the operator's sync would fail: {it}"),
    })?;
    Ok(report(&object, &made))
}

fn report(object: &Object, made: &Expected) -> String {
    let version = synced_resource_version(
        ALGORITHM,
        object.generation,
        &object.annotations,
        &object.labels,
    );
    let mut text = format!(
        "ExternalSecret:         {}\nsyncedResourceVersion:  {version}\nthe operator will:      {}\n",
        object.name,
        action(made)
    );
    let key = RunKey::from_bytes(KEY);
    let width = made.data.keys().map(String::len).max().unwrap_or_default();
    for (index, (name, value)) in made.data.iter().enumerate() {
        let start = if index == 0 {
            "\nexpected keys, with digests (HMAC-SHA-256) of their values:\n"
        } else {
            ""
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{start}  {name:width$}  {}",
            value.fingerprint(&key).hex()
        );
    }
    if made.effect == Effect::Write && made.exact {
        let hash = data_hash(ALGORITHM, &made.data);
        let _ = writeln!(text, "\nannotation {DATA_HASH}:\n  {hash}");
    } else if made.effect == Effect::Write || made.effect == Effect::WriteIfExists {
        let _ = writeln!(
            text,
            "\nannotation {DATA_HASH}:\n  depends on the other keys of the Secret"
        );
    }
    text
}

fn action(made: &Expected) -> &'static str {
    match made.effect {
        Effect::Write if made.exact && made.immutable => {
            "create the Secret (immutable: an existing Secret is not changed)"
        }
        Effect::Write if made.exact => "create or update the Secret",
        Effect::Write => "create the Secret, or add these keys to it",
        Effect::WriteIfExists => "add these keys to the Secret, if it exists",
        Effect::Keep => "not change the Secret, because the provider holds nothing",
        Effect::Delete => "delete the Secret, because the provider holds nothing",
        Effect::Nothing => "write nothing (creationPolicy: None)",
    }
}

// --- the files

struct File {
    name: String,
    text: String,
}

impl File {
    fn embedded(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    fn read(path: &OsString) -> Result<Self, String> {
        let name = Path::new(path).display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => Err(format!("{name}: {error}")),
        }
    }

    /// Parses the YAML. The message of an error names only the line, because the text of the file could contain values.
    fn parse(&self) -> Result<Json, String> {
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_str_with_options(&self.text, options).map_err(|error| {
            let line = error.location().map_or(1, |location| location.line());
            self.error(&format!("line {line} is not valid YAML"))
        })
    }

    fn error(&self, message: &str) -> String {
        format!("{}: {message}", self.name)
    }
}

/// The parts of an ExternalSecret that the results depend on.
struct Object {
    name: String,
    generation: i64,
    annotations: Metadata,
    labels: Metadata,
    spec: Spec,
}

impl Object {
    fn parse(file: &File) -> Result<Self, String> {
        let json = file.parse()?;
        let text = |path| json.pointer(path).and_then(Json::as_str);
        let group = text("/apiVersion").and_then(|version| version.split_once('/'));
        if text("/kind") != Some("ExternalSecret") || group.is_none_or(|(group, _)| group != GROUP)
        {
            return Err(file.error("is not an ExternalSecret"));
        }
        let generation = match json.pointer("/metadata/generation") {
            // The API server starts with 1.
            None => 1,
            Some(generation) => generation
                .as_i64()
                .ok_or_else(|| file.error("metadata.generation must be a number"))?,
        };
        let spec = json
            .get("spec")
            .ok_or_else(|| file.error("spec is missing"))?;
        Ok(Self {
            name: text("/metadata/name")
                .ok_or_else(|| file.error("metadata.name is missing"))?
                .to_owned(),
            generation,
            annotations: metadata(file, &json, "annotations")?,
            labels: metadata(file, &json, "labels")?,
            spec: Spec::parse(spec).map_err(|error| file.error(&error.detail))?,
        })
    }
}

fn metadata(file: &File, json: &Json, field: &str) -> Result<Metadata, String> {
    match json.pointer(&format!("/metadata/{field}")) {
        None | Some(Json::Null) => Ok(Metadata::new()),
        Some(entries) => texts(entries, str::to_owned)
            .ok_or_else(|| file.error(&format!("metadata.{field} must be a map of texts"))),
    }
}

/// Returns the entries of a map of texts, or None if it is something else.
fn texts<T>(json: &Json, make: impl Fn(&str) -> T) -> Option<BTreeMap<String, T>> {
    let entries = json.as_object()?.iter();
    entries
        .map(|(key, text)| Some((key.clone(), make(text.as_str()?))))
        .collect()
}

// --- the stores

struct Store {
    provider: ProviderKind,
    secrets: BTreeMap<String, Raw>,
}

type Stores = BTreeMap<StoreRef, Store>;

fn stores(file: &File) -> Result<Stores, String> {
    let json = file.parse()?;
    let list = json.get("stores").and_then(Json::as_array);
    let list = list.ok_or_else(|| file.error("stores must be a list"))?;
    let mut stores = Stores::new();
    for (index, json) in list.iter().enumerate() {
        let place = |message: &str| file.error(&format!("stores[{index}]{message}"));
        let (name, store) = store(json).map_err(|message| place(&message))?;
        if stores.insert(name, store).is_some() {
            return Err(place(": an earlier entry is the same store"));
        }
    }
    Ok(stores)
}

fn store(json: &Json) -> Result<(StoreRef, Store), String> {
    let kinds = [StoreKind::SecretStore, StoreKind::ClusterSecretStore].map(|kind| kind.into_str());
    let kind = json.get("kind").and_then(Json::as_str);
    let kind = kind.filter(|kind| kinds.contains(kind));
    let kind = kind.ok_or_else(|| format!(".kind must be {}", kinds.join(" or ")))?;
    let name = json.get("name").and_then(Json::as_str);
    let name = name.ok_or(".name must be a text")?;
    let provider = provider(json.get("provider"))?;
    let entries = json.get("secrets").and_then(Json::as_object);
    let mut secrets = BTreeMap::new();
    for (key, json) in entries.ok_or(".secrets must be a map")? {
        let raw = match (provider.rules().payload, json) {
            (Payload::Bytes, Json::String(text)) => Raw::Bytes(Value::from(text.as_str())),
            (Payload::Json, Json::String(text)) => Raw::Json(Value::from(text.as_str())),
            (Payload::Keys, json) => {
                let keys = texts(json, |text| Value::from(text));
                Raw::Keys(keys.ok_or_else(|| format!(".secrets.{key} must be a map of texts"))?)
            }
            _ => return Err(format!(".secrets.{key} must be a text (in quotes)")),
        };
        secrets.insert(key.clone(), raw);
    }
    let reference = StoreRef {
        kind: kind.to_owned(),
        name: name.to_owned(),
    };
    Ok((reference, Store { provider, secrets }))
}

fn provider(json: Option<&Json>) -> Result<ProviderKind, String> {
    let entries = json.and_then(Json::as_object);
    let mut entries = entries.into_iter().flatten();
    let (Some((name, settings)), None) = (entries.next(), entries.next()) else {
        return Err(".provider must be a map with one entry".to_owned());
    };
    let kind = ProviderKind::of(name, settings);
    if ProviderKind::KNOWN.contains(&kind) {
        return Ok(kind);
    }
    let mut known = ProviderKind::KNOWN.map(|kind| kind.name()).to_vec();
    known.dedup();
    Err(format!(
        ".provider: unknown provider {name}; known are {}",
        known.join(", ")
    ))
}

/// The answer of a store. A read that the file cannot answer makes the result unverifiable.
fn answer<'a>(stores: &'a Stores, read: &Read) -> Answer<'a> {
    let Some(Store { provider, secrets }) = stores.get(&read.store) else {
        let StoreRef { kind, name } = &read.store;
        return Answer {
            provider: &ProviderKind::Fake,
            content: unread(format!("{kind} {name} is not in the file of values")),
        };
    };
    let content = match &read.what {
        What::Secret { metadata: true, .. } => unread("this example has no metadata of secrets"),
        What::Secret { version, .. } if !version.is_empty() => {
            unread("this example has only one version of each secret")
        }
        What::Secret { key, .. } => secrets.get(key).map_or(Content::NotFound, Content::One),
        What::Find {
            path: None,
            tags: None,
            ..
        } => Content::Many(secrets),
        What::Find { .. } => unread("this example searches only by name"),
    };
    Answer { provider, content }
}

fn unread(detail: impl Into<String>) -> Content<'static> {
    Content::Unread(Unverifiable::new("unread", detail))
}

// --- templates

/// Renders all templates that need no other objects: `data`, literals of `templateFrom`, labels and annotations.
struct Rendering;

impl Templates for Rendering {
    fn render(
        &self,
        template: &Template,
        data: &BTreeMap<String, Value>,
        budget: &Budget,
    ) -> Result<BTreeMap<String, Value>, NotComputable> {
        if !matches!(template.engine_version.as_deref(), None | Some("v2" | "")) {
            return Err(unsupported("engineVersion"));
        }
        let values = data.iter().map(|(key, value)| (&**key, value.expose()));
        rendered(template, &Data::of(values, budget)?, budget)
    }
}

fn rendered(
    template: &Template,
    data: &Data,
    budget: &Budget,
) -> Result<BTreeMap<String, Value>, NotComputable> {
    let one = |text: &str, place: String| {
        let bytes = render(text, data, budget);
        bytes
            .map(Value::new)
            .map_err(|failure| failed(failure).at(&place))
    };
    let mut all = BTreeMap::new();
    for (index, from) in template.template_from.iter().enumerate() {
        let place = format!("templateFrom[{index}]");
        let literal = literal(from).map_err(|error| error.at(&place))?;
        let keys = render_keys_and_values(literal, data, budget);
        let keys = keys.map_err(|failure| failed(failure).at(&place))?;
        let keys = keys.into_iter();
        all.extend(keys.map(|(key, value)| (key, Value::new(value))));
    }
    for (key, text) in &template.data {
        all.insert(key.clone(), one(text, format!("data.{key}"))?);
    }
    for field in ["labels", "annotations"] {
        let metadata = template.metadata.as_ref();
        let texts = metadata.and_then(|metadata| metadata.get(field)?.as_object());
        for (key, text) in texts.into_iter().flatten() {
            // Only to find errors: labels and annotations are not data.
            drop(one(
                text.as_str().unwrap_or_default(),
                format!("metadata.{field}.{key}"),
            )?);
        }
    }
    Ok(all)
}

/// Returns the text of an entry of `templateFrom` that consists only of a literal.
fn literal(from: &Map<String, Json>) -> Result<&str, NotComputable> {
    if let Some(field) = from.keys().find(|field| *field != "literal") {
        return Err(unsupported(field));
    }
    let text = from.get("literal").and_then(Json::as_str);
    text.ok_or_else(|| unsupported("an empty entry"))
}

fn unsupported(what: &str) -> NotComputable {
    let detail = format!("this example does not support {what}");
    Unverifiable::new(why::TEMPLATE, detail).into()
}

fn failed(failure: template::Failure) -> NotComputable {
    match failure {
        template::Failure::Unverifiable { what } => Unverifiable::new(why::TEMPLATE, what).into(),
        template::Failure::WouldFail { what } => NotComputable::WouldFail(WouldFail {
            failure: Failure::Template,
            detail: what,
        }),
        template::Failure::TooCostly(error) => error.into(),
    }
}
