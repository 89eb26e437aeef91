//! Whether a read has seen the change that an event tells of. Pure.
//!
//! A provider may return the old value for a moment after a change. So an event is done only after a read that saw its version, or a
//! newer one.
//!
//! | provider | the version of the event was read if |
//! |---|---|
//! | Secrets Manager, Key Vault | the ID is the same, or the version that was read was created at the time of the event or later |
//! | Secret Manager (Google) | the number is the same or higher |
//! | Parameter Store | the version that was read was written at the time of the event or later |

use eso_model::{
    ProviderKind,
    expected::What,
    remote::{Realm, Sameness, compare},
    version::ReadVersion,
};
use jiff::{SignedDuration, Timestamp};

use crate::group::Group;

/// No provider returns an old value for so long after a change. If another version is read later, then the event's one was replaced
/// by an older one, disabled or removed.
const LAGS_AT_MOST: SignedDuration = SignedDuration::from_hours(1);

/// What a read shows about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// It saw the event's version or a newer one.
    Visible,
    /// It cannot tell. Only the time since the event counts.
    Unknown,
    /// It saw an older version.
    NotYet,
}

/// A read of a key, with the version in the provider's answer.
#[derive(Clone, Copy, Debug)]
pub struct ReadKey<'a> {
    pub provider: &'a ProviderKind,
    /// Where the store reads.
    pub store: &'a Realm,
    pub what: &'a What,
    /// None if the answer has no version.
    pub version: Option<&'a ReadVersion>,
}

impl Group {
    /// Compares the version of the group's newest event with one that was read.
    pub fn sight(&self, read: ReadKey<'_>, now: Timestamp) -> Sight {
        let Some(version) = read.version else {
            return Sight::Unknown;
        };
        if self.sees(read.provider, version) {
            return Sight::Visible;
        }
        let (What::Secret { version: asked, .. }, Some(event), Some(_)) =
            (read.what, &self.version, &version.id)
        else {
            return Sight::Unknown;
        };
        let is_old = self
            .at
            .is_some_and(|at| now.duration_since(at) > LAGS_AT_MOST);
        let is_comparable = !is_old && is_comparable(read.provider, asked, event);
        match self.is(version, read.store) {
            // Another key with the same name: there is nothing to wait for.
            Sameness::Other => Sight::Visible,
            Sameness::Same if is_comparable => Sight::NotYet,
            Sameness::Same | Sameness::Unsure => Sight::Unknown,
        }
    }

    /// Whether the key that was read is the event's: events match too many ExternalSecrets rather than too few.
    fn is(&self, read: &ReadVersion, store: &Realm) -> Sameness {
        let Some(resource) = &read.resource else {
            return Sameness::Unsure;
        };
        let keys = self.keys.iter().map(|key| compare(key, resource, store));
        keys.min().unwrap_or(Sameness::Unsure)
    }

    /// True if the version that was read is the event's or newer.
    fn sees(&self, provider: &ProviderKind, read: &ReadVersion) -> bool {
        let named = self.version.as_deref().zip(read.id.as_deref());
        let is_named = named.is_some_and(|(event, read)| {
            if *provider == ProviderKind::GcpSecretManager {
                let both = number(event).zip(number(read));
                return both.is_some_and(|(event, read)| read >= event);
            }
            // IDs of Key Vault are hexadecimal.
            let ignores_case = *provider == ProviderKind::AzureKeyVault;
            event == read || ignores_case && event.eq_ignore_ascii_case(read)
        });
        let written = self.at.zip(read.created);
        is_named || written.is_some_and(|(event, read)| read >= event)
    }
}

/// True if a read of the version `asked` returns the event's version after the change. An alias of Google stays where it is until
/// somebody moves it, of which there is no event.
fn is_comparable(provider: &ProviderKind, asked: &str, event: &str) -> bool {
    let is_moved = matches!(asked, "" | "latest") || number(asked).is_some();
    *provider != ProviderKind::GcpSecretManager || (is_moved && number(event).is_some())
}

/// The number of a version of Google.
fn number(version: &str) -> Option<u64> {
    version.parse().ok()
}

#[cfg(test)]
mod tests {
    use eso_model::remote::RemoteKey;

    use super::*;
    use crate::{
        group::Groups,
        notice::{Notice, Says},
    };

    const AWS: ProviderKind = ProviderKind::SecretsManager;
    const SSM: ProviderKind = ProviderKind::ParameterStore;
    const AZURE: ProviderKind = ProviderKind::AzureKeyVault;
    const GOOGLE: ProviderKind = ProviderKind::GcpSecretManager;

    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf";
    const PARAMETER: &str = "arn:aws:ssm:eu-west-1:123456789012:parameter/db";
    const URL: &str = "https://shop.vault.azure.net/secrets/db";
    const NAME: &str = "projects/123/secrets/db";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn group(named: &str, version: Option<&str>, seconds: Option<i64>) -> Group {
        let mut keys = RemoteKey::read(named).unwrap();
        // As for an event of a known source.
        if keys.len() > 1 {
            keys.retain(|key| key.provider.is_some());
        }
        let notice = Notice {
            version: version.map(str::to_owned),
            at: seconds.map(at),
            ..Notice::about(Says::Changed, keys)
        };
        let mut groups = Groups::default();
        groups.add(0, notice);
        groups.into_vec().remove(0)
    }

    fn secret(version: &str) -> What {
        What::Secret {
            key: "db".to_owned(),
            version: version.to_owned(),
            metadata: false,
        }
    }

    fn read(resource: &str, id: Option<&str>, created: Option<i64>) -> ReadVersion {
        ReadVersion {
            resource: Some(resource.to_owned()),
            id: id.map(str::to_owned),
            created: created.map(at),
        }
    }

    fn sight(group: &Group, provider: &ProviderKind, asked: &What, read: &ReadVersion) -> Sight {
        let read = ReadKey {
            provider,
            store: &Realm::default(),
            what: asked,
            version: Some(read),
        };
        group.sight(read, at(105))
    }

    /// Key, version and time of the event; the version that is asked for; ID and time of the version that was read; the result.
    const TABLE: &str = "
ARN b 100 - b 90 Visible
ARN b 100 - a 90 NotYet
ARN b 100 - a - NotYet
# Events in reverse, or delivered twice.
ARN b 100 - c 101 Visible
ARN b - - a 90 NotYet
# A stage that is not the current one.
ARN b 100 blue a 90 NotYet
ARN b 100 blue b 90 Visible
# No version: a rotation that has succeeded made its version before.
ARN - 100 - a 90 Unknown
ARN - 100 - b 100 Visible
ARN - - - b 100 Unknown
ARN b 100 - - 90 Unknown
PARAMETER - 100 - 7 99 Unknown
PARAMETER - 100 - 8 100 Visible
URL 0aFf 100 - 0AfF 99 Visible
URL 0aff 100 - 0afe 99 NotYet
URL 0aff 100 - 0afe 100 Visible
URL 0aff 100 0aff 0aff 99 Visible
NAME 10 100 - 10 - Visible
NAME 10 100 latest 9 - NotYet
NAME 9 100 - 10 - Visible
NAME latest 100 - 10 - Unknown
# An alias that somebody moves later, or has moved already.
NAME 10 100 blue 9 - Unknown
NAME 10 100 blue 10 - Visible
NAME - 100 - 1 - Unknown
";

    /// It is looked at in second 105.
    #[test]
    fn version_of_the_event_or_a_newer_one_is_visible() {
        let rows = TABLE
            .lines()
            .filter(|row| !row.is_empty() && !row.starts_with('#'));
        for row in rows {
            let row: Vec<&str> = row.split(' ').collect();
            let [key, version, seconds, asked, id, created, expected] = row[..] else {
                panic!("{row:?}");
            };
            let (provider, key) = match key {
                "ARN" => (AWS, ARN),
                "PARAMETER" => (SSM, PARAMETER),
                "URL" => (AZURE, URL),
                "NAME" => (GOOGLE, NAME),
                other => panic!("{other}"),
            };
            let text = |field| Some(field).filter(|field| *field != "-");
            let number = |field: &str| field.parse::<i64>().ok();
            let read = read(key, text(id), number(created));
            let group = group(key, text(version), number(seconds));
            let asked = secret(text(asked).unwrap_or_default());
            let sight = sight(&group, &provider, &asked, &read);
            assert_eq!(format!("{sight:?}"), expected, "{row:?}");
        }
    }

    /// Otherwise a message would wait for a version of another key.
    #[test]
    fn key_that_only_has_the_same_name_is_not_waited_for() {
        let other = |arn: &str| ARN.replace("db-AbCdEf", arn);
        let table = [
            (ARN, ARN.to_owned(), Sight::NotYet),
            // An event that says less about its key.
            ("db", ARN.to_owned(), Sight::NotYet),
            (
                ARN,
                ARN.replace("123456789012", "999999999999"),
                Sight::Visible,
            ),
            (ARN, ARN.replace("eu-west-1", "us-east-1"), Sight::Visible),
            // The event's name may be `db-AbCdEf` with a shortened ARN.
            (ARN, other("db-AbCdEf-123456"), Sight::Unknown),
        ];
        for (event, resource, expected) in table {
            let group = group(event, Some("b"), Some(100));
            let read = read(&resource, Some("a"), Some(90));
            assert_eq!(
                sight(&group, &AWS, &secret(""), &read),
                expected,
                "{event} {resource}"
            );
        }
        // A project has an id and a number.
        let of = |event: &str, store: &str, resource: &str| {
            let store = Realm {
                account: Some(store.to_owned()),
                ..Realm::default()
            };
            let version = read(resource, Some("9"), None);
            let read = ReadKey {
                provider: &GOOGLE,
                store: &store,
                what: &secret(""),
                version: Some(&version),
            };
            group(event, Some("10"), Some(100)).sight(read, at(105))
        };
        let by_id = NAME.replace("123", "shop");
        assert_eq!(of(NAME, "shop", NAME), Sight::NotYet);
        assert_eq!(of(&by_id, "shop", NAME), Sight::NotYet);
        assert_eq!(of(NAME, "shop", &by_id), Sight::Unknown);
        assert_eq!(
            of(NAME, "bank", &NAME.replace("123", "456")),
            Sight::Visible
        );
    }

    #[test]
    fn read_without_a_version_tells_nothing() {
        let find = What::Find {
            path: None,
            name: None,
            tags: None,
        };
        let group = group(ARN, Some("b"), Some(100));
        let old = read(ARN, Some("a"), None);
        let of = |what: &What, version| {
            let read = ReadKey {
                provider: &AWS,
                store: &Realm::default(),
                what,
                version,
            };
            group.sight(read, at(105))
        };
        assert_eq!(of(&secret(""), None), Sight::Unknown);
        assert_eq!(of(&find, Some(&old)), Sight::Unknown);
    }

    /// A label that was moved back to an old version, and a delivery of the event before.
    #[test]
    fn old_event_does_not_wait_for_a_version_that_was_replaced() {
        let group = group(ARN, Some("b"), Some(0));
        let version = read(ARN, Some("a"), Some(-90));
        let sight = |now| {
            let read = ReadKey {
                provider: &AWS,
                store: &Realm::default(),
                what: &secret(""),
                version: Some(&version),
            };
            group.sight(read, at(now))
        };
        assert_eq!([sight(3600), sight(3601)], [Sight::NotYet, Sight::Unknown]);
    }
}
