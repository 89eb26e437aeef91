//! Kubernetes objects that contain secret values. The values are parsed directly into memory that is wiped, and no type has
//! `Debug`.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use secret::Value;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::Value as Json;

use super::OwnerReference;

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Secret {
    pub metadata: SecretMeta,
    /// The decoded data.
    #[serde(deserialize_with = "decoded")]
    pub data: BTreeMap<String, Value>,
    /// `Opaque`, `kubernetes.io/tls`, …
    pub r#type: String,
    /// True if the API server rejects changes of the data.
    pub immutable: bool,
}

/// `metadata` of a Secret.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretMeta {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    /// Changes on every write.
    pub resource_version: String,
    pub creation_timestamp: Option<Timestamp>,
    /// Set while the Secret is being deleted.
    pub deletion_timestamp: Option<Timestamp>,
    pub labels: BTreeMap<String, String>,
    /// `kubectl apply` copies the whole object, including the data, to an annotation, so annotations are secret values too.
    #[serde(deserialize_with = "plain")]
    pub annotations: BTreeMap<String, Value>,
    pub owner_references: Vec<OwnerReference>,
    /// The field managers of each field, with times. Contains names of keys but no values.
    pub managed_fields: Vec<Json>,
}

/// The answer to a token request.
#[derive(Deserialize)]
pub struct TokenRequest {
    pub status: TokenRequestStatus,
}

/// `status` of a [`TokenRequest`].
#[derive(Deserialize)]
pub struct TokenRequestStatus {
    #[serde(deserialize_with = "text")]
    pub token: Value,
}

fn decoded<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Value>, D::Error> {
    deserializer.deserialize_option(Values::<Base64>::default())
}

fn plain<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Value>, D::Error> {
    deserializer.deserialize_option(Values::<Text>::default())
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Ok(Text::deserialize(deserializer)?.into())
}

/// A value in plain text.
struct Text(Value);

/// A base64 value. It may be `null`: Go writes an empty value like this.
struct Base64(Value);

impl From<Text> for Value {
    fn from(Text(value): Text) -> Self {
        value
    }
}

impl From<Base64> for Value {
    fn from(Base64(value): Base64) -> Self {
        value
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_str(Scalar(|text: &str| Some(Value::from(text))))
            .map(Self)
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let decode = |text: &str| {
            let mut bytes = Vec::with_capacity(base64::decoded_len_estimate(text.len()));
            let decoded = STANDARD.decode_vec(text, &mut bytes);
            // Wrapped first, so that a part that was decoded before an error is wiped too.
            let value = Value::new(bytes);
            decoded.is_ok().then_some(value)
        };
        deserializer.deserialize_option(Scalar(decode)).map(Self)
    }
}

/// Parses one value. Its errors contain no part of the value.
struct Scalar<F>(F);

impl<'de, F: FnOnce(&str) -> Option<Value>> Visitor<'de> for Scalar<F> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        (self.0)(text).ok_or_else(|| E::custom("a value is not base64"))
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

/// Parses a map of values.
struct Values<T>(std::marker::PhantomData<T>);

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<'de, T: Deserialize<'de> + Into<Value>> Visitor<'de> for Values<T> {
    type Value = BTreeMap<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("values by name")
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, T>()? {
            values.insert(key, value.into());
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_decoded_and_metadata_is_kept() {
        let secret: Secret = serde_json::from_str(
            r#"{"metadata": {"name": "n", "annotations": {"a": "b\"c"}, "managedFields": [{"manager": "m"}]},
                "data": {"k": "aHVudGVyMg==", "binary": "/wA=", "empty": "", "null": null}, "type": "Opaque"}"#,
        )
        .unwrap();
        let data: Vec<(&str, &[u8])> = secret
            .data
            .iter()
            .map(|(key, value)| (key.as_str(), value.expose()))
            .collect();
        assert_eq!(
            data,
            [
                ("binary", &b"\xff\0"[..]),
                ("empty", b""),
                ("k", b"hunter2"),
                ("null", b"")
            ]
        );
        let annotation = secret.metadata.annotations.get("a").map(Value::expose);
        assert_eq!(annotation, Some(&b"b\"c"[..]));
        assert_eq!(secret.metadata.managed_fields.len(), 1);
        assert!(!secret.immutable);
    }

    #[test]
    fn empty_secret_has_no_data() {
        for text in [r#"{"metadata": {"name": "n"}}"#, r#"{"data": null}"#] {
            let secret: Secret = serde_json::from_str(text).unwrap();
            assert!(secret.data.is_empty());
        }
    }

    #[test]
    fn errors_contain_no_part_of_a_value() {
        let error = serde_json::from_str::<Secret>(r#"{"data": {"k": "planted-value!"}}"#);
        let error = error.err().unwrap().to_string();
        assert!(error.starts_with("a value is not base64"), "{error}");
    }
}
