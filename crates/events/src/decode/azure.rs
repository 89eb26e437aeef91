//! Events of Key Vault from Event Grid, in its own schema and as `CloudEvents`. The case of fields differs between the two and the
//! SDKs, so it does not matter.

use eso_model::{ProviderKind, remote::RemoteKey};
use serde_json::Value as Json;

use super::{keys_of, version};
use crate::notice::{Notice, Says, Touched, Unreadable, Warned};

const SOURCE: &str = "microsoft.keyvault.";

/// None if it is not from this source.
pub(super) fn decode(event: &Json) -> Option<Notice> {
    let kind = field(event, "eventType").or_else(|| field(event, "type"))?;
    let kind = kind.as_str()?.to_ascii_lowercase();
    let kind = kind.strip_prefix(SOURCE)?;
    let bare = ["secret", "certificate", "key"]
        .into_iter()
        .find_map(|object| kind.strip_prefix(object));
    let says = match bare.unwrap_or_default() {
        "newversioncreated" => Says::Changed,
        "expired" => Says::Gone,
        "nearexpiry" => Says::Warning(Warned::NearExpiry),
        _ => return Some(Notice::of_unknown_kind(kind)),
    };
    let Some(data) = field(event, "data") else {
        return Some(Notice::unreadable(Unreadable::NoKey));
    };
    let text = |name: &str| field(data, name)?.as_str().filter(|text| !text.is_empty());
    let id = text("Id");
    let mut keys = id.map_or_else(Vec::new, |id| keys_of(&ProviderKind::AzureKeyVault, id));
    if keys.is_empty() {
        keys.extend(text("ObjectName").and_then(of_name));
    }
    let mut notice = Notice::about(says, keys);
    let of_id = id.and_then(|id| id.split('/').nth(5));
    notice.version = version(text("Version").or(of_id));
    if let Some(version) = &notice.version {
        notice.touched = Touched::Newest(version.clone());
    }
    let at = field(event, "eventTime").or_else(|| field(event, "time"));
    notice.at = at.and_then(|at| at.as_str()?.parse().ok());
    Some(notice)
}

/// The key with this name, in whatever vault.
fn of_name(name: &str) -> Option<RemoteKey> {
    let mut key = RemoteKey::read(name).ok()?.pop()?;
    key.provider = Some(ProviderKind::AzureKeyVault);
    Some(key)
}

/// The field with this name in whatever case, the exact one first.
fn field<'a>(object: &'a Json, name: &str) -> Option<&'a Json> {
    let object = object.as_object()?;
    object.get(name).or_else(|| {
        let mut fields = object.iter();
        let (_, value) = fields.find(|(field, _)| field.eq_ignore_ascii_case(name))?;
        Some(value)
    })
}
