//! Events of Secrets Manager and Parameter Store, as `EventBridge` delivers them.

use std::collections::BTreeSet;

use eso_model::{
    ProviderKind,
    remote::{Realm, RemoteKey},
};
use serde_json::Value as Json;

use super::{text, time, version};
use crate::notice::{Ignored, Notice, Says, Touched, Warned};

const LABEL_UPDATED: &str = "Secret Label Updated";
const API_CALL: &str = "AWS API Call via CloudTrail";
const SERVICE_EVENT: &str = "AWS Service Event via CloudTrail";
const PARAMETER: &str = "Parameter Store Change";

/// None if it is not from these sources.
pub(super) fn decode(event: &Json) -> Option<Notice> {
    let (source, kind) = (text(event, "/source")?, text(event, "/detail-type")?);
    let mut notice = match (source, kind) {
        ("aws.secretsmanager", LABEL_UPDATED) => label_updated(event),
        ("aws.secretsmanager", API_CALL) => secret_call(event),
        ("aws.secretsmanager", SERVICE_EVENT) => service_event(event),
        ("aws.secretsmanager", other) | ("aws.ssm", other @ "Parameter Store Policy Action") => {
            return Some(Notice::of_unknown_kind(other));
        }
        ("aws.ssm", PARAMETER) => parameter(event),
        ("aws.ssm", API_CALL) => parameter_call(event)?,
        _ => return None,
    };
    notice.at = time(event, "/detail/eventTime").or_else(|| time(event, "/time"));
    Some(notice)
}

/// The event of Secrets Manager itself, for a label that moved to another version.
fn label_updated(event: &Json) -> Notice {
    let label = text(event, "/detail/labelUpdated").unwrap_or_default();
    let stages = match pending([label]) {
        Ok(stages) => stages,
        Err(why) => return Notice::irrelevant(why),
    };
    let arn = text(event, "/resources/0").or_else(|| text(event, "/resources"));
    // Its name is exact, so the suffix of the ARN need not be guessed.
    let names = text(event, "/detail/name").or(arn);
    let mut notice = Notice::about(Says::Changed, secret(event, names, arn));
    notice.touched = stages;
    notice.version = version(text(event, "/detail/versionId"));
    notice
}

/// The stages that reads can ask for. An error if all of them are those of versions that are not current.
fn pending<'a>(stages: impl IntoIterator<Item = &'a str>) -> Result<Touched, Ignored> {
    let stages: BTreeSet<String> = stages.into_iter().map(str::to_owned).collect();
    let other = |stage: &String| matches!(&**stage, "AWSPENDING" | "AWSPREVIOUS" | "AWSPREVIEW");
    if !stages.is_empty() && stages.iter().all(other) {
        return Err(Ignored::Pending);
    }
    if stages.contains("") || stages.is_empty() {
        return Ok(Touched::Any);
    }
    Ok(Touched::Stages(stages))
}

/// A call of the API, as `CloudTrail` records it. Rules for all management events also deliver failed ones, and reads.
fn secret_call(event: &Json) -> Notice {
    if let Some(why) = without_effect(event) {
        return Notice::irrelevant(why);
    }
    let name = text(event, "/detail/eventName").unwrap_or_default();
    let says = match name {
        "PutSecretValue"
        | "UpdateSecret"
        | "CreateSecret"
        | "RestoreSecret"
        | "UpdateSecretVersionStage"
        | "ReplicateSecretToRegions" => Says::Changed,
        "DeleteSecret" => Says::Gone,
        "TagResource"
        | "UntagResource"
        | "PutResourcePolicy"
        | "DeleteResourcePolicy"
        | "StopReplicationToReplica"
        | "RemoveRegionsFromReplication" => {
            return Notice::irrelevant(Ignored::Metadata);
        }
        "RotateSecret" | "CancelRotateSecret" => return Notice::irrelevant(Ignored::Pending),
        other => return Notice::of_unknown_kind(other),
    };
    let parameters = |field: &str| text(event, &format!("/detail/requestParameters/{field}"));
    let stages: Vec<&str> = match name {
        "PutSecretValue" => listed(event, "/detail/requestParameters/versionStages"),
        "UpdateSecretVersionStage" => parameters("versionStage").into_iter().collect(),
        _ => Vec::new(),
    };
    let touched = match (name, pending(stages.iter().copied())) {
        (_, Err(why)) => return Notice::irrelevant(why),
        ("PutSecretValue" | "UpdateSecret" | "CreateSecret", Ok(Touched::Any)) => {
            Touched::current()
        }
        (_, Ok(touched)) => touched,
    };
    // Before 2024, some records had `aRN`.
    let arn = ["arn", "aRN", "ARN"]
        .into_iter()
        .find_map(|field| text(event, &format!("/detail/responseElements/{field}")));
    let named = parameters("secretId")
        .or_else(|| parameters("name"))
        .or(arn);
    let mut notice = Notice::about(says, secret(event, named, arn));
    notice.touched = touched;
    notice.version = version(match name {
        "UpdateSecretVersionStage" => parameters("moveToVersionId"),
        // `UpdateSecret` has a token also if it makes no version.
        "PutSecretValue" | "CreateSecret" => parameters("clientRequestToken"),
        "UpdateSecret" => text(event, "/detail/responseElements/versionId"),
        _ => None,
    });
    notice
}

/// A step of a rotation that Secrets Manager made itself. It has no `requestParameters`.
fn service_event(event: &Json) -> Notice {
    let says = match text(event, "/detail/eventName").unwrap_or_default() {
        "RotationSucceeded" => Says::Changed,
        "RotationFailed" => Says::Warning(Warned::RotationFailed),
        "RotationAbandoned" => Says::Warning(Warned::RotationAbandoned),
        "RotationStarted"
        | "TestRotationStarted"
        | "TestRotationSucceeded"
        | "TestRotationFailed" => {
            return Notice::irrelevant(Ignored::Pending);
        }
        other => return Notice::of_unknown_kind(other),
    };
    let named = ["SecretId", "secretId", "SecretArn"]
        .into_iter()
        .find_map(|field| text(event, &format!("/detail/additionalEventData/{field}")));
    let mut notice = Notice::about(says, secret(event, named, None));
    notice.touched = Touched::current();
    notice
}

/// The event of Parameter Store itself.
fn parameter(event: &Json) -> Notice {
    let says = match text(event, "/detail/operation").unwrap_or_default() {
        "Create" | "Update" | "LabelParameterVersion" => Says::Changed,
        "Delete" => Says::Gone,
        other => return Notice::of_unknown_kind(other),
    };
    let name = text(event, "/detail/name").or_else(|| text(event, "/resources/0"));
    Notice::about(says, parameters(event, name))
}

/// A call of the API, as `CloudTrail` records it. None for calls about other parts of Systems Manager.
fn parameter_call(event: &Json) -> Option<Notice> {
    let says = match text(event, "/detail/eventName").unwrap_or_default() {
        "PutParameter" | "LabelParameterVersion" | "UnlabelParameterVersion" => Says::Changed,
        "DeleteParameter" | "DeleteParameters" => Says::Gone,
        name if name.contains("Parameter") => {
            return Some(Notice::of_unknown_kind(name));
        }
        _ => return None,
    };
    if let Some(why) = without_effect(event) {
        return Some(Notice::irrelevant(why));
    }
    let mut names = listed(event, "/detail/requestParameters/names");
    names.extend(text(event, "/detail/requestParameters/name"));
    let keys = names
        .into_iter()
        .flat_map(|name| parameters(event, Some(name)));
    Some(Notice::about(says, keys.collect()))
}

/// Why a call changed nothing.
fn without_effect(event: &Json) -> Option<Ignored> {
    let is_set = |pointer: &str| event.pointer(pointer).is_some_and(|value| !value.is_null());
    if is_set("/detail/errorCode") || is_set("/detail/errorMessage") {
        return Some(Ignored::FailedCall);
    }
    let read_only = event.pointer("/detail/readOnly");
    let read_only = read_only.is_some_and(|it| *it == Json::Bool(true) || *it == "true");
    read_only.then_some(Ignored::ReadOnly)
}

/// The texts in an array.
fn listed<'a>(event: &'a Json, pointer: &str) -> Vec<&'a str> {
    let all = event.pointer(pointer).and_then(Json::as_array);
    all.into_iter().flatten().filter_map(Json::as_str).collect()
}

/// The keys of a secret that is named by its name, its ARN, or a part of the ARN.
fn secret(event: &Json, named: Option<&str>, arn: Option<&str>) -> Vec<RemoteKey> {
    keys(&ProviderKind::SecretsManager, event, named, arn)
}

fn parameters(event: &Json, named: Option<&str>) -> Vec<RemoteKey> {
    keys(&ProviderKind::ParameterStore, event, named, None)
}

fn keys(
    provider: &ProviderKind,
    event: &Json,
    named: Option<&str>,
    arn: Option<&str>,
) -> Vec<RemoteKey> {
    let Some(named) = named else {
        return Vec::new();
    };
    let known = |pointers: &[&str]| {
        let found = pointers.iter().find_map(|pointer| text(event, pointer));
        found.map(str::to_owned)
    };
    // The ARN says where the secret is; the event, where the call was made.
    let of_arn = arn.and_then(|arn| RemoteKey::read(arn).ok()?.into_iter().next());
    let realm = of_arn.map_or_else(
        || Realm {
            region: known(&["/detail/awsRegion", "/region"]),
            account: known(&["/detail/recipientAccountId", "/account"]),
            host: None,
        },
        |key| key.realm,
    );
    let mut keys = RemoteKey::read(named).unwrap_or_default();
    keys.retain(|key| match &key.provider {
        Some(of) => of == provider,
        None => true,
    });
    for key in &mut keys {
        if key.provider.is_none() {
            key.provider = Some(provider.clone());
            key.realm = realm.clone();
        }
    }
    keys
}
