//! The recipients of a file: the keys that its data key is encrypted with.

use std::collections::BTreeMap;

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};

use super::{MAX_RECIPIENTS, fields::Fields};
use crate::refusal::{Reason, Refused};

/// One recipient. Everything in it comes from the file, so an address, role or key may be anybody's: send credentials only to
/// those that you allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The key group, from 0. A file without `key_groups` has one group.
    pub group: usize,
    pub key: MasterKey,
}

/// The key of a recipient, and the encrypted data key. For key services it has all that must be sent to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MasterKey {
    Age {
        recipient: String,
        /// An armoured age file.
        encrypted: String,
    },
    Pgp {
        fingerprint: String,
        /// An armoured message.
        encrypted: String,
    },
    AwsKms {
        arn: String,
        /// The role to assume. Empty without a role.
        role: String,
        /// The AWS profile with which the file was encrypted. Empty without a profile.
        profile: String,
        /// The encryption context.
        context: BTreeMap<String, String>,
        /// The `CiphertextBlob`.
        encrypted: Vec<u8>,
    },
    GcpKms {
        /// `projects/…/locations/…/keyRings/…/cryptoKeys/…`
        resource_id: String,
        encrypted: Vec<u8>,
    },
    /// The algorithm is RSA-OAEP-256.
    AzureKeyVault {
        vault_url: String,
        name: String,
        version: String,
        encrypted: Vec<u8>,
    },
    VaultTransit {
        address: String,
        engine_path: String,
        key_name: String,
        /// The ciphertext as Vault writes it: `vault:v1:…`.
        encrypted: String,
    },
    /// Huawei Cloud KMS, which this crate does not support.
    HuaweiKms { key_id: String },
}

/// Returns the recipients and the number of groups. Recipients outside `key_groups` win, as in SOPS.
pub(super) fn parse(fields: &Fields<'_>) -> Result<(Vec<Recipient>, usize), Refused> {
    let mut recipients = Vec::new();
    group(fields, 0, &mut recipients)?;
    if !recipients.is_empty() {
        return Ok((recipients, 1));
    }
    let groups = fields.maps("key_groups")?;
    for (index, fields) in groups.iter().enumerate() {
        let before = recipients.len();
        group(fields, index, &mut recipients)?;
        if recipients.len() == before {
            return Err(Refused::at(Reason::NoRecipients, &["sops", "key_groups"]));
        }
    }
    if recipients.is_empty() {
        return Err(Refused::at(Reason::NoRecipients, &["sops"]));
    }
    Ok((recipients, groups.len()))
}

type Parse = fn(&Fields<'_>) -> Result<MasterKey, Refused>;

fn group(
    fields: &Fields<'_>,
    group: usize,
    recipients: &mut Vec<Recipient>,
) -> Result<(), Refused> {
    let kinds: [(&'static str, Parse); 7] = [
        ("age", age),
        ("pgp", pgp),
        ("kms", aws_kms),
        ("gcp_kms", gcp_kms),
        ("azure_kv", azure_key_vault),
        ("hc_vault", vault_transit),
        ("hckms", huawei_kms),
    ];
    for (name, parse) in kinds {
        for fields in fields.maps(name)? {
            if recipients.len() == MAX_RECIPIENTS {
                return Err(Reason::TooManyRecipients.into());
            }
            let key = parse(&fields)?;
            recipients.push(Recipient { group, key });
        }
    }
    Ok(())
}

fn age(fields: &Fields<'_>) -> Result<MasterKey, Refused> {
    Ok(MasterKey::Age {
        recipient: fields.required("recipient")?.to_owned(),
        encrypted: fields.required("enc")?.to_owned(),
    })
}

fn pgp(fields: &Fields<'_>) -> Result<MasterKey, Refused> {
    Ok(MasterKey::Pgp {
        fingerprint: fields.required("fp")?.to_owned(),
        encrypted: fields.required("enc")?.to_owned(),
    })
}

fn aws_kms(fields: &Fields<'_>) -> Result<MasterKey, Refused> {
    let context = fields.texts("context")?.into_iter();
    Ok(MasterKey::AwsKms {
        arn: fields.required("arn")?.to_owned(),
        role: fields.text("role")?.unwrap_or_default().to_owned(),
        profile: fields.text("aws_profile")?.unwrap_or_default().to_owned(),
        context: context
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        encrypted: base64(fields)?,
    })
}

fn gcp_kms(fields: &Fields<'_>) -> Result<MasterKey, Refused> {
    Ok(MasterKey::GcpKms {
        resource_id: fields.required("resource_id")?.to_owned(),
        encrypted: base64(fields)?,
    })
}

fn azure_key_vault(fields: &Fields<'_>) -> Result<MasterKey, Refused> {
    let encrypted = BASE64_URL_SAFE_NO_PAD.decode(fields.required("enc")?);
    Ok(MasterKey::AzureKeyVault {
        vault_url: fields.required("vault_url")?.to_owned(),
        name: fields.required("name")?.to_owned(),
        version: fields.text("version")?.unwrap_or_default().to_owned(),
        encrypted: encrypted.map_err(|_| fields.refuse("enc"))?,
    })
}

fn vault_transit(fields: &Fields<'_>) -> Result<MasterKey, Refused> {
    Ok(MasterKey::VaultTransit {
        address: fields.required("vault_address")?.to_owned(),
        engine_path: fields.required("engine_path")?.to_owned(),
        key_name: fields.required("key_name")?.to_owned(),
        encrypted: fields.required("enc")?.to_owned(),
    })
}

fn huawei_kms(fields: &Fields<'_>) -> Result<MasterKey, Refused> {
    Ok(MasterKey::HuaweiKms {
        key_id: fields.required("key_id")?.to_owned(),
    })
}

fn base64(fields: &Fields<'_>) -> Result<Vec<u8>, Refused> {
    let text = fields.required("enc")?;
    BASE64_STANDARD
        .decode(text)
        .map_err(|_| fields.refuse("enc"))
}
