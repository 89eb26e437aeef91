//! Notifications of Secret Manager, and entries of its audit log, as Pub/Sub delivers them.

use eso_model::ProviderKind;
use serde_json::Value as Json;

use super::{keys_of, text, time, version};
use crate::notice::{Ignored, Notice, Says, Touched, Unreadable};

/// None if it is not from this source.
pub(super) fn decode(event: &Json) -> Option<Notice> {
    notification(event).or_else(|| audit_log(event))
}

/// The data of a message of Pub/Sub, in base64: pulled, pushed or printed by `gcloud`.
pub(super) fn data(event: &Json) -> Option<&str> {
    let message = message(event);
    message
        .get("messageId")
        .or_else(|| message.get("attributes"))?;
    text(message, "/data")
}

fn message(event: &Json) -> &Json {
    event.get("message").unwrap_or(event)
}

fn notification(event: &Json) -> Option<Notice> {
    let attributes = message(event).get("attributes")?;
    let kind = text(attributes, "/eventType")?;
    let of_secret = kind.starts_with("SECRET_") || kind == "TOPIC_CONFIGURED";
    if !of_secret || text(attributes, "/dataFormat").is_none() {
        return None;
    }
    let says = match kind {
        "SECRET_CREATE" | "SECRET_VERSION_ADD" | "SECRET_VERSION_ENABLE" => Says::Changed,
        "SECRET_DELETE"
        | "SECRET_VERSION_DISABLE"
        | "SECRET_VERSION_DESTROY"
        | "SECRET_VERSION_DESTROY_SCHEDULED" => Says::Gone,
        "SECRET_ROTATE" => return Some(Notice::irrelevant(Ignored::Reminder)),
        "SECRET_UPDATE" | "TOPIC_CONFIGURED" => return Some(Notice::irrelevant(Ignored::Metadata)),
        other => return Some(Notice::of_unknown_kind(other)),
    };
    let named = text(attributes, "/versionId").or_else(|| text(attributes, "/secretId"));
    let mut notice = about(says, named);
    notice.at = time(attributes, "/timestamp").or_else(|| time(message(event), "/publishTime"));
    Some(notice)
}

/// An entry of the audit log, from a sink.
fn audit_log(event: &Json) -> Option<Notice> {
    let method = text(event, "/protoPayload/methodName")?;
    let (service, call) = method.rsplit_once('.')?;
    if !service.starts_with("google.cloud.secretmanager.") {
        return None;
    }
    let failed = event.pointer("/protoPayload/status/code");
    if failed.is_some_and(|code| *code != 0) {
        return Some(Notice::irrelevant(Ignored::FailedCall));
    }
    let says = match call {
        "CreateSecret" | "AddSecretVersion" | "EnableSecretVersion" => Says::Changed,
        "DeleteSecret" | "DisableSecretVersion" | "DestroySecretVersion" => Says::Gone,
        "UpdateSecret" | "SetIamPolicy" => return Some(Notice::irrelevant(Ignored::Metadata)),
        "AccessSecretVersion"
        | "GetSecret"
        | "GetSecretVersion"
        | "ListSecrets"
        | "ListSecretVersions"
        | "GetIamPolicy" => return Some(Notice::irrelevant(Ignored::ReadOnly)),
        other => return Some(Notice::of_unknown_kind(other)),
    };
    let named = text(event, "/protoPayload/response/name")
        .or_else(|| text(event, "/protoPayload/resourceName"));
    // The parent of a new secret is its project.
    let created = text(event, "/protoPayload/request/secretId");
    let parent =
        text(event, "/protoPayload/resourceName").filter(|name| !name.contains("/secrets/"));
    let created = match (created, parent) {
        (Some(name), Some(parent)) => Some(format!("{parent}/secrets/{name}")),
        _ => None,
    };
    let named = created.as_deref().or(named);
    let mut notice = about(says, named);
    notice.at = time(event, "/timestamp");
    Some(notice)
}

fn about(says: Says, named: Option<&str>) -> Notice {
    let Some(named) = named else {
        return Notice::unreadable(Unreadable::NoKey);
    };
    let mut notice = Notice::about(says, keys_of(&ProviderKind::GcpSecretManager, named));
    let number = named.rsplit_once("/versions/").map(|(_, number)| number);
    notice.version = version(number);
    if let Some(version) = &notice.version {
        notice.touched = Touched::Newest(version.clone());
    }
    notice
}
