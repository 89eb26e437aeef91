//! The section `notify`: messages about runs to people.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub use super::text_from::TextFrom;
use super::{
    form::{self, Written},
    written::{self, in_order},
};

/// Messages about runs, for the commands that change something and for `drift`. A run sends at most one message to each receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Notify {
    /// When a message is sent. Any of them is sufficient. Default: `change` if `report.history` keeps the runs of the command, else
    /// `failure`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<NotifyOn>>,
    /// The receivers.
    pub to: Vec<Receiver>,
}

impl Notify {
    /// When a message is sent, for a command whose runs a history keeps or does not keep.
    pub fn occasions(&self, has_history: bool) -> Vec<NotifyOn> {
        let default = if has_history {
            NotifyOn::Change
        } else {
            NotifyOn::Failure
        };
        self.on.clone().unwrap_or_else(|| vec![default])
    }
}

/// When a message is sent.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum NotifyOn {
    /// Something failed, is not known, or was not permitted: the exit codes 2, 3, 4, 5 and 7.
    Failure,
    /// Something differs from its provider, also if the run has repaired it.
    Drift,
    /// A workload was restarted.
    Restart,
    /// Something failed or needs attention that did not in the last run that the history keeps, or no longer does. It needs
    /// `report.history`; without it, this is `failure`.
    Change,
    /// Always.
    Always,
}

/// One entry of `notify.to`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>, extend("minProperties" = 1, "maxProperties" = 1))]
pub struct Receiver {
    /// An incoming webhook of Slack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slack: Option<Slack>,
    /// A Prometheus Alertmanager (API v2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alertmanager: Option<Alertmanager>,
    /// Any other address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
}

/// `to[].slack`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct Slack {
    /// Where the address comes from, which is a secret: `env:NAME` or `file:PATH`.
    #[schemars(with = "Written<form::Outside>")]
    pub url_from: TextFrom,
}

/// `to[].alertmanager`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct Alertmanager {
    /// Where the address of the Alertmanager comes from, without `/api/v2/alerts`: `env:NAME` or `file:PATH`.
    #[schemars(with = "Written<form::Outside>")]
    pub url_from: TextFrom,
    /// How long an alert stays without a further run. Longer than the time between two runs.
    #[serde(default = "two_hours", with = "written::duration")]
    #[schemars(with = "Written<form::Duration>")]
    pub lasts: Duration,
}

const fn two_hours() -> Duration {
    Duration::from_hours(2)
}

/// `to[].webhook`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct Webhook {
    /// Where the address comes from: `env:NAME` or `file:PATH`.
    #[schemars(with = "Written<form::Outside>")]
    pub url_from: TextFrom,
    /// Where the key of the signature comes from: `env:NAME` or `file:PATH`. The header `X-Eso-Sync-Signature` is `sha256=` and the
    /// HMAC-SHA-256 of the body in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Written<form::Outside>>")]
    pub sign_with: Option<TextFrom>,
    /// The body, as a JSON object, for chats that need a form of their own. In its texts, `{title}`, `{text}`, `{link}`, `{command}`
    /// and `{exitCode}` are replaced. Without it, the body is an event in the JSON form of CloudEvents 1.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Written<form::Template>>")]
    pub body: Option<String>,
}

/// Parses a body of one's own.
pub fn template(text: &str) -> Option<Json> {
    form::json_object(text)
}
