//! Serialisation of policy types as text and words, for types whose derived form would differ.

use std::num::NonZeroU32;

use schemars::Schema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, Visitor, value::Error},
    forward_to_deserialize_any,
};
use serde_json::json;

use super::{FailureLimit, InFlight, InvalidFailureLimit};
use crate::{
    pattern::{Pattern, Wildcard},
    selector::Selector,
};

/// Implements serde by `Display` and `FromStr`.
macro_rules! written_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

written_as_text!(Pattern, Selector, Wildcard);

/// The schema keyword with the field names of a section in their order. Internal: the published schema does not contain it.
pub(crate) const ORDER: &str = "x-order";

/// Adds the order of the fields to the schema of a section, because JSON objects are unordered.
pub(super) fn in_order<T: for<'de> Deserialize<'de>>(schema: &mut Schema) {
    schema.insert(ORDER.to_owned(), json!(fields_of::<T>()));
}

/// Returns the names of a struct's fields as serde knows them, in the order of their declaration.
fn fields_of<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    /// A deserializer that records the requested fields and then fails.
    struct Recorder<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Recorder<'_> {
        type Error = Error;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Error> {
            *self.0 = fields;
            Err(Error::custom("nothing"))
        }

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(Error::custom("nothing"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
            seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut fields: &'static [&'static str] = &[];
    // Always fails, because there is no data.
    let _nothing = T::deserialize(Recorder(&mut fields)).is_ok();
    fields
}

/// `auto` or a number.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum InFlightForm {
    Word(InFlightWord),
    Number(NonZeroU32),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum InFlightWord {
    Auto,
}

impl From<InFlightForm> for InFlight {
    fn from(form: InFlightForm) -> Self {
        match form {
            InFlightForm::Word(InFlightWord::Auto) => Self::Auto,
            InFlightForm::Number(number) => Self::Fixed(number),
        }
    }
}

impl From<InFlight> for InFlightForm {
    fn from(in_flight: InFlight) -> Self {
        match in_flight {
            InFlight::Auto => Self::Word(InFlightWord::Auto),
            InFlight::Fixed(number) => Self::Number(number),
        }
    }
}

/// A number or a percentage.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum FailureLimitForm {
    Number(u32),
    Text(String),
}

impl TryFrom<FailureLimitForm> for FailureLimit {
    type Error = InvalidFailureLimit;

    fn try_from(form: FailureLimitForm) -> Result<Self, InvalidFailureLimit> {
        match form {
            FailureLimitForm::Number(number) => Ok(Self::Count(number)),
            FailureLimitForm::Text(text) => text.parse(),
        }
    }
}

impl From<FailureLimit> for FailureLimitForm {
    fn from(limit: FailureLimit) -> Self {
        match limit {
            FailureLimit::Count(count) => Self::Number(count),
            FailureLimit::Share(_) => Self::Text(limit.to_string()),
        }
    }
}

/// A [`Duration`](std::time::Duration) as [`GoDuration`] writes it.
pub(super) mod duration {
    use std::time::Duration;

    use eso_model::duration::GoDuration;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        GoDuration(*duration).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        GoDuration::deserialize(deserializer).map(|duration| duration.0)
    }
}

/// An optional duration.
pub(super) mod optional_duration {
    use std::time::Duration;

    use eso_model::duration::GoDuration;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "the signature that serde asks for")]
    pub(crate) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(GoDuration).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Option::<GoDuration>::deserialize(deserializer)
            .map(|duration| duration.map(|duration| duration.0))
    }
}

/// Maps with stores as keys, which are text when serialised.
pub(super) mod store_keys {
    use std::collections::BTreeMap;

    use eso_model::StoreKey;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer, V: Serialize>(
        stores: &BTreeMap<StoreKey, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(stores.iter().map(|(key, value)| (key.to_string(), value)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, V: Deserialize<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<StoreKey, V>, D::Error> {
        BTreeMap::<String, V>::deserialize(deserializer)?
            .into_iter()
            .map(|(key, value)| Ok((key.parse().map_err(D::Error::custom)?, value)))
            .collect()
    }
}
