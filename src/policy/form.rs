//! The text formats ("forms") of policy values: `5m`, `20/s`, `prod-*`.
//!
//! A type names the form of each key (`#[schemars(with = "Written<form::Duration>")]`). Validation, the JSON Schema and the
//! messages use the definition in this module.

use std::{borrow::Cow, fmt, marker::PhantomData, str::FromStr, time::Duration as StdDuration};

use cluster::names::{is_label_key, is_name};
use eso_model::{
    ProviderName, StoreKey,
    duration::{GoDuration, InvalidDuration},
};
use git::{Address, InvalidAddress};
use pace::rate::{InvalidRate, Rate as CallRate};
use providers::{
    queue::address::{
        Address as QueueAddress, InvalidAddress as InvalidQueueAddress, is_azure_queue_name,
    },
    trust::{InvalidOrigin, Origin},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value as Json;

use super::{
    Dollars as Amount, FailureLimit, InvalidDollars, InvalidFailureLimit,
    key_from::{InvalidKeyFrom, KeyFrom},
    text_from::{InvalidTextFrom, TextFrom},
};
use crate::{
    pattern::{Pattern, Wildcard},
    selector::{InvalidSelector, Selector as LabelSelector},
};

/// The schema keyword with the name of a form. Internal: the published schema does not contain it.
pub(crate) const KEYWORD: &str = "x-form";

/// The error for one value, with a hint how to fix it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) what: String,
    pub(crate) hint: String,
}

impl Fault {
    pub(crate) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: hint.into(),
        }
    }
}

/// A text format.
pub(crate) trait Form {
    /// The name in schemas.
    const NAME: &'static str;
    /// How to fix an invalid text.
    const HINT: &'static str;
    /// A valid text.
    const EXAMPLE: &'static str;
    /// A regular expression for editors. It may accept what [`Form::read`] refuses, but not the reverse.
    const PATTERN: &'static str;

    /// Returns the normalised text, or an error that continues a sentence that starts with the text.
    fn read(text: &str) -> Result<String, Fault>;
}

/// Any form, for lookups by name.
#[derive(Debug)]
pub(crate) struct AnyForm {
    pub(crate) name: &'static str,
    pub(crate) hint: &'static str,
    pub(crate) example: &'static str,
    pub(crate) read: fn(&str) -> Result<String, Fault>,
}

impl AnyForm {
    const fn of<F: Form>() -> Self {
        Self {
            name: F::NAME,
            hint: F::HINT,
            example: F::EXAMPLE,
            read: F::read,
        }
    }

    /// Returns the form with this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|form| form.name == name)
    }
}

/// The JSON object that a text is.
pub(crate) fn json_object(text: &str) -> Option<Json> {
    let parsed: Option<Json> = serde_json::from_str(text).ok();
    parsed.filter(Json::is_object)
}

/// The schema of a key whose value is a text in this form.
pub(crate) struct Written<F>(PhantomData<F>);

impl<F: Form> JsonSchema for Written<F> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        F::NAME.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": F::PATTERN,
            "examples": [F::EXAMPLE],
            KEYWORD: F::NAME,
        })
    }
}

/// The schema of a key whose value is a whole number of at least `LEAST`, or a text in this form.
pub(crate) struct CountOr<const LEAST: u32, F>(PhantomData<F>);

impl<const LEAST: u32, F: Form> JsonSchema for CountOr<LEAST, F> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("count-{LEAST}-or-{}", F::NAME).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "integer", "minimum": LEAST, "maximum": u32::MAX},
            Written::<F>::json_schema(generator),
        ]})
    }
}

/// The schema of a map whose keys have the form `K`.
pub(crate) struct Entries<K, V>(PhantomData<(K, V)>);

impl<K: Form, V: JsonSchema> JsonSchema for Entries<K, V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}-to-{}", K::NAME, V::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": {"pattern": K::PATTERN, KEYWORD: K::NAME},
            "additionalProperties": generator.subschema_for::<V>(),
        })
    }
}

/// Implements `JsonSchema` for types that always have the same form.
macro_rules! written {
    ($($type:ty: $form:ty),*) => {$(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                <$form as Form>::NAME.into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                Written::<$form>::json_schema(generator)
            }
        }
    )*};
}

// Only for types of this crate. Fields with a type of another crate use `with = "Written<…>"`.
written!(Pattern: Name, LabelSelector: Selector);

/// Declares the forms: the name in schemas, a hint, an example, a pattern for editors, and the function that reads a text.
macro_rules! forms {
    ($($(#[$about:meta])* $form:ident { $name:literal, $hint:expr, $example:literal, $pattern:literal, $read:expr })*) => {
        $(
            $(#[$about])*
            pub(crate) struct $form;

            impl Form for $form {
                const NAME: &'static str = $name;
                const HINT: &'static str = $hint;
                const EXAMPLE: &'static str = $example;
                const PATTERN: &'static str = $pattern;

                fn read(text: &str) -> Result<String, Fault> {
                    let read: fn(&str) -> Result<String, Fault> = $read;
                    read(text)
                }
            }
        )*

        /// All forms.
        static ALL: &[AnyForm] = &[$(AnyForm::of::<$form>()),*];
    };
}

forms! {
    /// A duration greater than zero.
    Duration {
        "duration",
        InvalidDuration::HINT,
        "5m",
        r"^\+?([0-9]*\.?[0-9]*(ns|us|µs|μs|ms|s|m|h))+$",
        |text| match duration(text)? {
            StdDuration::ZERO => Err(Fault::new("must be greater than zero", InvalidDuration::HINT)),
            _ => Ok(text.to_owned()),
        }
    }

    /// A duration. Zero disables the setting.
    DurationOrZero {
        "duration-or-zero",
        InvalidDuration::HINT,
        "5m",
        r"^\+?(0|([0-9]*\.?[0-9]*(ns|us|µs|μs|ms|s|m|h))+)$",
        |text| duration(text).map(|_| text.to_owned())
    }

    /// A rate.
    Rate {
        "rate",
        InvalidRate::HINT,
        "20/s",
        r"^[0-9]*\.?[0-9]*/(s|m|min|h)$",
        |text| parsed::<CallRate>(text, InvalidRate::HINT)
    }

    /// An amount of US dollars.
    Dollars {
        "dollars",
        InvalidDollars::HINT,
        "$0.05",
        r"^\$[0-9]*\.?[0-9]*$",
        |text| parsed::<Amount>(text, InvalidDollars::HINT)
    }

    /// A percentage.
    Percentage {
        "percentage",
        InvalidFailureLimit::HINT,
        "20%",
        r"^[0-9]*\.?[0-9]*%$",
        |text| parsed::<FailureLimit>(text, InvalidFailureLimit::HINT)
    }

    /// `auto`.
    Auto {
        "auto",
        "write `auto` or a whole number of at least 1",
        "auto",
        "^auto$",
        |text| match text {
            "auto" => Ok(text.to_owned()),
            _ => Err(Fault::new("is neither `auto` nor a whole number above zero", Self::HINT)),
        }
    }

    /// A Kubernetes name, or a glob on names.
    Name {
        "name",
        "write a name or a glob like `prod-*`",
        "prod-*",
        r"^[-a-z0-9.*?\[\]{}\\,!^]+$",
        |text| match Pattern::new(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(why) => Err(Fault::new(why, Self::HINT)),
        }
    }

    /// A label selector.
    Selector {
        "selector",
        InvalidSelector::HINT,
        "team=payments,tier!=test",
        r"^[-A-Za-z0-9_./ ,=!()]+$",
        |text| match text.parse::<LabelSelector>() {
            Ok(_) => Ok(text.to_owned()),
            Err(InvalidSelector { why }) => {
                Err(Fault::new(format!("is not a label selector ({why})"), Self::HINT))
            }
        }
    }

    /// A provider type.
    Provider {
        "provider",
        "write it as in the spec of a store, for example `aws`, `azurekv`, `gcpsm` or `vault`",
        "vault",
        "^[a-z][a-zA-Z0-9]*$",
        |text| match text.parse::<ProviderName>() {
            Ok(name) => Ok(name.into()),
            Err(why) => Err(Fault::new(why.to_string(), Self::HINT)),
        }
    }

    /// A store.
    Store {
        "store",
        "write `ClusterSecretStore/NAME` or `SecretStore/NAMESPACE/NAME`",
        "ClusterSecretStore/vault",
        r"^(ClusterSecretStore|SecretStore/[-a-z0-9.]+)/[-a-z0-9.]+$",
        |text| match text.parse::<StoreKey>() {
            Ok(store) if is_name(store.name()) && store.namespace().is_none_or(is_name) => {
                Ok(text.to_owned())
            }
            _ => Err(Fault::new("is not a store", Self::HINT)),
        }
    }

    /// An endpoint that may receive the job's own credentials.
    Endpoint {
        "endpoint",
        InvalidOrigin::HINT,
        "https://vault.corp:8200",
        r"^([hH][tT][tT][pP][sS]://[^/?#@]+|[hH][tT][tT][pP]://(127\.[0-9.]+|\[::1\])(:[0-9]+)?)/?$",
        |text| parsed::<Origin>(text, InvalidOrigin::HINT)
    }

    /// Where a key comes from.
    Key {
        "key",
        InvalidKeyFrom::HINT,
        "secret:publish-key",
        "^(secret|file|env):.+$",
        |text| parsed::<KeyFrom>(text, InvalidKeyFrom::HINT)
    }

    /// Where a confidential text comes from.
    Outside {
        "outside",
        InvalidTextFrom::HINT,
        "env:SLACK_URL",
        "^(file|env):.+$",
        |text| parsed::<TextFrom>(text, InvalidTextFrom::HINT)
    }

    /// A JSON object with placeholders.
    Template {
        "template",
        "write a JSON object, for example `{\"text\": \"{title}\"}`",
        "{\"text\": \"{title}\"}",
        r"^\s*\{",
        |text| match json_object(text) {
            Some(_) => Ok(text.to_owned()),
            None => Err(Fault::new("is not a JSON object", Self::HINT)),
        }
    }

    /// The name of a Kubernetes object.
    ObjectName {
        "object-name",
        "write a name of lower-case letters, digits, `-` and `.`",
        "payments",
        r"^[-a-z0-9.]+$",
        |text| if is_name(text) {
            Ok(text.to_owned())
        } else {
            Err(Fault::new("is not a name of a Kubernetes object", Self::HINT))
        }
    }

    /// The name of a publisher. It is a part of tags and labels at the providers.
    Owner {
        "owner",
        "write a name of at most 63 lower-case letters, digits and `-`, for example the name of the cluster",
        "prod-eu",
        "^[-a-z0-9]{1,63}$",
        |text| {
            let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if text.len() <= 63 && !text.is_empty() && text.bytes().all(is_good) {
                Ok(text.to_owned())
            } else {
                Err(Fault::new("is not the name of a publisher", Self::HINT))
            }
        }
    }

    /// A file or folder of the job.
    File {
        "file",
        "write a path",
        "/var/run/keys/age.txt",
        "^.+$",
        |text| match text {
            "" => Err(Fault::new("is empty", Self::HINT)),
            _ => Ok(text.to_owned()),
        }
    }

    /// A folder of the job. Without `..`, because a ceiling is compared with the text.
    Folder {
        "folder",
        "write a path without `..`, for example an absolute one",
        "/workspace/repository",
        "^.+$",
        |text| match text {
            "" => Err(Fault::new("is empty", Self::HINT)),
            _ if text.split('/').any(|part| part == "..") => {
                Err(Fault::new("contains `..`", Self::HINT))
            }
            _ => Ok(text.to_owned()),
        }
    }

    /// The name of a file, without a folder. It cannot start with `.`, so that it is no hidden file and no folder.
    FileName {
        "file-name",
        "write a name of letters, digits, `-`, `_` and `.`, without a folder; --report-dir names the folder",
        "report.html",
        r"^[-A-Za-z0-9_][-A-Za-z0-9_.]{0,99}$",
        |text| {
            let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if (1..=100).contains(&text.len()) && text.bytes().all(is_good) && !text.starts_with('.') {
                Ok(text.to_owned())
            } else {
                Err(Fault::new("is not the name of a file", Self::HINT))
            }
        }
    }

    /// A link for people. It holds no credentials and nothing that a renderer of Markdown could take for markup.
    Link {
        "link",
        "write a link like `https://reports.example/eso-sync`, with at most 500 characters and without a user",
        "https://reports.example/eso-sync",
        r"^https?://[^\s/?#@]+[^\s@]*$",
        |text| if is_link(text) {
            Ok(text.to_owned())
        } else {
            Err(Fault::new("is not a link", Self::HINT))
        }
    }

    /// A path in a repository.
    RepositoryPath {
        "repository-path",
        "write a relative path without `..`, with `/` between its parts",
        "services/payments",
        r"^[^/].*$",
        |text| {
            let is_good = |part: &&str| !part.is_empty() && *part != ".." && !part.contains(char::is_control);
            let parts: Vec<&str> = text.trim_end_matches('/').split('/').collect();
            if !parts.iter().all(is_good) {
                return Err(Fault::new("is not a path in the repository", Self::HINT));
            }
            let named: Vec<&str> = parts.into_iter().filter(|part| *part != ".").collect();
            Ok(if named.is_empty() { ".".to_owned() } else { named.join("/") })
        }
    }

    /// A mount or a namespace of Vault.
    MountPath {
        "mount-path",
        "write the path as `vault secrets list` or `vault namespace list` shows it, without `.` and `..`",
        "secret",
        r"^[^/].*$",
        |text| {
            let is_good = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
            let text = text.trim_end_matches('/');
            if text.split('/').all(is_good) {
                Ok(text.to_owned())
            } else {
                Err(Fault::new("is not the path of a mount or a namespace", Self::HINT))
            }
        }
    }

    /// A revision of a repository.
    Revision {
        "revision",
        "write a commit, a branch or a tag",
        "main",
        r"^[-A-Za-z0-9_./@:+]+$",
        |text| {
            let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./@:+".contains(&byte);
            if !text.is_empty() && text.len() <= 256 && text.bytes().all(is_good) {
                Ok(text.to_owned())
            } else {
                Err(Fault::new("is not a revision", Self::HINT))
            }
        }
    }

    /// The address of a Git repository.
    GitAddress {
        "git-address",
        InvalidAddress::HINT,
        "https://git.example/team/app.git",
        r"^([hH][tT][tT][pP][sS]|[sS][sS][hH])://[^\s?#]+$|^[^\s:/@]+@[^\s:/@]+:[^\s?#]+$",
        |text| match text.parse::<Address>() {
            Ok(address) => Ok(address.to_string()),
            Err(InvalidAddress) => Err(Fault::new("is not the address of a Git repository", Self::HINT)),
        }
    }

    /// A glob in which `*` matches any text.
    Glob {
        "glob",
        "write a glob, for example `https://git.example/team/*`",
        "https://git.example/team/*",
        "^.+$",
        |text| match text.parse::<Wildcard>() {
            Ok(_) => Ok(text.to_owned()),
            Err(what) => Err(Fault::new(what, Self::HINT)),
        }
    }

    /// A part of a name at a provider.
    NamePart {
        "name-part",
        "write letters, digits and the characters that the provider accepts",
        "payments",
        r"^[^\s]+$",
        |text| if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            Err(Fault::new("is not a part of a name", Self::HINT))
        } else {
            Ok(text.to_owned())
        }
    }

    /// A region or project of a cloud.
    CloudName {
        "cloud-name",
        "write it as the cloud does, for example `eu-west-1`",
        "eu-west-1",
        r"^[-A-Za-z0-9_.:]+$",
        |text| {
            let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
            if !text.is_empty() && text.len() <= 128 && text.bytes().all(is_good) {
                Ok(text.to_owned())
            } else {
                Err(Fault::new("is not a name of a cloud", Self::HINT))
            }
        }
    }

    /// The name or the value of a tag. Each cloud permits less.
    Tag {
        "tag",
        "write 1 to 256 characters, for example `team`",
        "team",
        r"^.{1,256}$",
        |text| {
            let is_good = (1..=256).contains(&text.chars().count()) && !text.chars().any(char::is_control);
            if is_good {
                Ok(text.to_owned())
            } else {
                Err(Fault::new("is not a tag", Self::HINT))
            }
        }
    }

    /// A key of a key service: an ID, ARN or alias of AWS KMS, or a resource of Cloud KMS.
    KmsKey {
        "kms-key",
        "write the key as the cloud does, for example `alias/payments`",
        "alias/payments",
        r"^[-A-Za-z0-9_.:/]+$",
        |text| {
            let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
            if (1..=2048).contains(&text.len()) && text.bytes().all(is_good) {
                Ok(text.to_owned())
            } else {
                Err(Fault::new("is not a key of a key service", Self::HINT))
            }
        }
    }

    /// An SQS queue.
    SqsUrl {
        "sqs-url",
        "write `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/eso-sync-prod",
        r"^https://sqs\.[-a-z0-9]+\.amazonaws\.com(\.cn)?/[0-9]{12}/[-A-Za-z0-9_.]+$",
        |text| match text.parse() {
            Ok(QueueAddress::Sqs { .. }) => Ok(text.to_owned()),
            _ => Err(Fault::new("is not the URL of an SQS queue", Self::HINT)),
        }
    }

    /// A queue of Azure Storage.
    AzureQueueUrl {
        "azure-queue-url",
        "write `https://ACCOUNT.queue.core.windows.net/QUEUE`, without a SAS token",
        "https://shop.queue.core.windows.net/eso-sync-prod",
        r"^https://[a-z0-9]+\.queue\.core\.(windows\.net|usgovcloudapi\.net|chinacloudapi\.cn)/[-a-z0-9]+$",
        |text| match text.parse() {
            Ok(QueueAddress::AzureQueue { .. }) => Ok(text.to_owned()),
            Err(error @ InvalidQueueAddress::AzureSas) => Err(Fault::new(error.to_string(), Self::HINT)),
            _ => Err(Fault::new("is not the URL of an Azure Storage queue", Self::HINT)),
        }
    }

    /// The name of a queue of Azure Storage.
    AzureQueueName {
        "azure-queue-name",
        "write 3 to 63 lower-case letters, digits and single hyphens",
        "eso-sync-prod-poison",
        r"^[a-z0-9][-a-z0-9]*[a-z0-9]$",
        |text| if is_azure_queue_name(text) {
            Ok(text.to_owned())
        } else {
            Err(Fault::new("is not the name of an Azure Storage queue", Self::HINT))
        }
    }

    /// A Pub/Sub subscription.
    Subscription {
        "subscription",
        "write `projects/PROJECT/subscriptions/NAME`",
        "projects/shop/subscriptions/eso-sync-prod",
        r"^projects/[^/]+/subscriptions/[^/]+$",
        |text| match text.parse() {
            Ok(QueueAddress::PubSub { .. }) => Ok(text.to_owned()),
            _ => Err(Fault::new("is not the name of a Pub/Sub subscription", Self::HINT)),
        }
    }

    /// A JSON pointer.
    JsonPointer {
        "json-pointer",
        "write it like `/detail/name`",
        "/detail/name",
        r"^(/[^/]+)+$",
        |text| {
            let is_good = |part: &str| !part.is_empty() && !part.contains(char::is_control);
            let parts = text.strip_prefix('/').filter(|_| text.len() <= 256);
            if parts.is_some_and(|parts| parts.split('/').all(is_good)) {
                Ok(text.to_owned())
            } else {
                Err(Fault::new("is not a JSON pointer", Self::HINT))
            }
        }
    }

    /// An annotation key that neither the operator, kubectl nor eso-sync gives a meaning.
    Annotation {
        "annotation",
        "write a key like `force-sync` or `eso-sync/force-sync`",
        "force-sync",
        r"^([-a-z0-9.]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        |text| {
            const RESERVED: [&str; 2] = ["kubectl.kubernetes.io", "reconcile.external-secrets.io"];
            const OURS: [&str; 3] = ["eso-sync/ignore", "eso-sync/rotate", "eso-sync/stamp"];
            if !is_label_key(text) {
                return Err(Fault::new("is not an annotation key", Self::HINT));
            }
            if OURS.contains(&text) {
                return Err(Fault::new("is reserved: eso-sync reads this annotation", Self::HINT));
            }
            let owner = text.split_once('/').map(|(owner, _)| owner);
            match owner.filter(|owner| RESERVED.contains(owner)) {
                None => Ok(text.to_owned()),
                Some(owner) => Err(Fault::new(
                    format!("is reserved: annotations with the prefix `{owner}/` have a special meaning"),
                    Self::HINT,
                )),
            }
        }
    }
}

/// True for a short link over HTTP, without credentials, whose characters need no escaping in Markdown and HTML.
pub(crate) fn is_link(text: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#!$&+,;=%".contains(&byte);
    let rest = ["https://", "http://"]
        .into_iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    text.len() <= 500 && text.bytes().all(is_good) && host.is_some_and(|host| !host.is_empty())
}

fn duration(text: &str) -> Result<StdDuration, Fault> {
    match text.parse() {
        Ok(GoDuration(duration)) => Ok(duration),
        Err(InvalidDuration) => Err(Fault::new("is not a duration", InvalidDuration::HINT)),
    }
}

fn parsed<T: FromStr<Err: fmt::Display>>(text: &str, hint: &str) -> Result<String, Fault> {
    match text.parse::<T>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Fault::new(error.to_string(), hint)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_has_a_valid_example_and_a_unique_name() {
        for form in ALL {
            assert!((form.read)(form.example).is_ok(), "{}", form.name);
            assert!(
                std::ptr::eq(AnyForm::named(form.name).unwrap(), form),
                "{}: the name is not unique",
                form.name
            );
        }
    }
}
