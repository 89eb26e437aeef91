//! The requests to the receivers.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value as Json, json};

use super::Message;

/// The longest text of a block in a message to Slack, in characters.
const SLACK_BLOCK: usize = 3000;

/// A body and its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    pub body: String,
    pub content_type: &'static str,
}

impl Payload {
    fn json(body: &Json) -> Self {
        Self {
            body: body.to_string(),
            content_type: "application/json",
        }
    }

    /// For an incoming webhook of Slack (`docs.slack.dev/messaging/sending-messages-using-incoming-webhooks`).
    pub fn slack(message: &Message) -> Self {
        let mut text = slack_text(&message.lines().join("\n"));
        if let Some(link) = &message.link {
            let link = format!("\n<{}|report>", slack_text(link));
            text = cut(&text, SLACK_BLOCK - link.chars().count().min(SLACK_BLOCK)) + &link;
        }
        let title = message.title();
        // Slack must not make links or mentions of names.
        let section = |text: &str| json!({"type": "section", "text": {"type": "mrkdwn", "verbatim": true, "text": cut(text, SLACK_BLOCK)}});
        let mut blocks = vec![section(&format!("*{}*", slack_text(&title)))];
        if !text.is_empty() {
            blocks.push(section(&text));
        }
        Self::json(&json!({"text": slack_text(&title), "blocks": blocks}))
    }

    /// For `POST /api/v2/alerts` of an Alertmanager: one alert for the job with these labels. It ends by itself after `lasts`. If
    /// it must not stay, it ends now, so that a good run resolves it.
    pub fn alertmanager(
        message: &Message,
        is_firing: bool,
        lasts: Duration,
        labels: &BTreeMap<String, String>,
    ) -> Self {
        let mut all: Map<String, Json> = labels
            .iter()
            .map(|(name, value)| (name.clone(), Json::from(value.as_str())))
            .collect();
        all.insert("alertname".to_owned(), json!("EsoSyncRun"));
        all.insert("severity".to_owned(), json!("warning"));
        let end = if is_firing {
            message.finished.saturating_add(lasts)
        } else {
            Ok(message.finished)
        };
        let mut alert = json!({
            "labels": all,
            "annotations": {"summary": message.title(), "description": message.lines().join("\n")},
            "startsAt": message.started.to_string(),
            "endsAt": end.unwrap_or(message.finished).to_string(),
        });
        if let (Some(link), Some(alert)) = (&message.link, alert.as_object_mut()) {
            alert.insert("generatorURL".to_owned(), json!(link));
        }
        Self::json(&json!([alert]))
    }

    /// An event in the JSON form of CloudEvents 1.0.
    pub fn event(message: &Message) -> Self {
        let attention: Vec<Json> = message
            .rows
            .iter()
            .map(|row| {
                json!({
                    "kind": row.kind,
                    "id": row.id,
                    "level": row.level,
                    "why": row.why,
                })
            })
            .collect();
        let event = json!({
            "specversion": "1.0",
            "id": message.run,
            "source": format!("/eso-sync/{}", message.command),
            "type": "eso-sync.run.ended",
            "time": message.finished.to_string(),
            "datacontenttype": "application/json",
            "data": {
                "title": message.title(),
                "command": message.command,
                "exitCode": message.exit_code,
                "context": message.context,
                "started": message.started.to_string(),
                "finished": message.finished.to_string(),
                "occasions": message.occasions,
                "totals": message.totals,
                "notes": message.notes,
                "needsAttention": attention,
                "notShown": message.more,
                "link": message.link,
            },
        });
        Self {
            body: event.to_string(),
            content_type: "application/cloudevents+json",
        }
    }

    /// A body of one's own. `template` has the form of `notify.to[].webhook.body`.
    pub fn templated(message: &Message, template: &Json) -> Self {
        let code = message.exit_code.to_string();
        let title = message.title();
        let text = message.lines().join("\n");
        let values = [
            ("{title}", &*title),
            ("{text}", &text),
            ("{link}", message.link.as_deref().unwrap_or_default()),
            ("{command}", &message.command),
            ("{exitCode}", &code),
        ];
        Self::json(&replaced(template, &values))
    }
}

/// Replaces in the texts of a document, once, so that a placeholder in a name stays as it is.
fn replaced(template: &Json, values: &[(&str, &str)]) -> Json {
    match template {
        Json::String(text) => Json::String(replace_once(text, values)),
        Json::Array(items) => items.iter().map(|item| replaced(item, values)).collect(),
        Json::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), replaced(value, values)))
            .collect::<Map<String, Json>>()
            .into(),
        Json::Null | Json::Bool(_) | Json::Number(_) => template.clone(),
    }
}

fn replace_once(text: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let known = values.iter().find(|(name, _)| from.starts_with(name));
        let (shown, length) = known.map_or(("{", 1), |(name, value)| (*value, name.len()));
        out.push_str(shown);
        rest = from.get(length..).unwrap_or_default();
    }
    out + rest
}

/// The three characters that Slack takes for markup.
fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let start: String = text.chars().take(longest.saturating_sub(1)).collect();
    // Half of an entity would be shown as it is.
    let start = match start.rfind('&') {
        Some(at) if !start.get(at..).is_some_and(|end| end.contains(';')) => {
            start.get(..at).unwrap_or_default()
        }
        Some(_) | None => &start,
    };
    format!("{start}…")
}
