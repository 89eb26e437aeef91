//! The forms that texts of a policy have.

use std::time::Duration;

use cluster::names::{is_label_key, is_name};
use eso_model::{
    StoreKey,
    duration::{GoDuration, InvalidDuration},
};
use pace::rate::{InvalidRate, Rate};
use providers::trust::{InvalidOrigin, Origin};

use super::problem::Fault;
use crate::{
    pattern::Pattern,
    policy::{FailureLimit, InvalidFailureLimit},
    selector::{InvalidSelector, Selector},
};

/// A form of text.
#[derive(Debug)]
pub(super) struct Format {
    /// What would be right.
    pub(super) hint: &'static str,
    /// A text that has the form.
    pub(super) example: &'static str,
    /// A regular expression for editors. It may let pass what [`Format::read`] refuses, and not the other way round.
    pub(super) pattern: &'static str,
    /// The text in its normal form, or what is wrong with it: the end of a sentence that starts with the text.
    pub(super) read: fn(&str) -> Result<String, Fault>,
}

pub(super) static DURATION: Format = Format {
    hint: InvalidDuration::HINT,
    example: "5m",
    pattern: r"^\+?([0-9]*\.?[0-9]*(ns|us|µs|μs|ms|s|m|h))+$",
    read: |text| {
        let GoDuration(duration) = text
            .parse()
            .map_err(|InvalidDuration| Fault::new("is not a duration", InvalidDuration::HINT))?;
        if duration == Duration::ZERO {
            return Err(Fault::new("is no time at all", InvalidDuration::HINT));
        }
        Ok(text.to_owned())
    },
};

pub(super) static RATE: Format = Format {
    hint: InvalidRate::HINT,
    example: "20/s",
    pattern: r"^[0-9]*\.?[0-9]*/(s|m|min|h)$",
    read: |text| match text.parse::<Rate>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Fault::new(error.to_string(), InvalidRate::HINT)),
    },
};

pub(super) static PERCENTAGE: Format = Format {
    hint: InvalidFailureLimit::HINT,
    example: "20%",
    pattern: r"^[0-9]*\.?[0-9]*%$",
    read: |text| match text.parse::<FailureLimit>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Fault::new(error.to_string(), InvalidFailureLimit::HINT)),
    },
};

pub(super) static AUTO: Format = Format {
    hint: "write `auto` or a whole number from 1 on",
    example: "auto",
    pattern: "^auto$",
    read: |text| {
        if text == "auto" {
            return Ok(text.to_owned());
        }
        Err(Fault::new(
            "is neither `auto` nor a whole number above zero",
            "",
        ))
    },
};

pub(super) static NAME: Format = Format {
    hint: "write a name or a glob like `prod-*`",
    example: "prod-*",
    pattern: r"^[-a-z0-9.*?\[\]{}\\,!^]+$",
    read: |text| match Pattern::new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(why) => Err(Fault::new(why, NAME.hint)),
    },
};

pub(super) static SELECTOR: Format = Format {
    hint: InvalidSelector::HINT,
    example: "team=payments,tier!=test",
    pattern: r"^[-A-Za-z0-9_./ ,=!()]+$",
    read: |text| match text.parse::<Selector>() {
        Ok(_) => Ok(text.to_owned()),
        Err(InvalidSelector { why }) => Err(Fault::new(
            format!("is not a label selector ({why})"),
            InvalidSelector::HINT,
        )),
    },
};

pub(super) static PROVIDER: Format = Format {
    hint: "write it as the spec of a store does, like `aws`, `azurekv`, `gcpsm` or `vault`",
    example: "vault",
    pattern: "^[a-z][a-zA-Z0-9]*$",
    read: |text| {
        let mut characters = text.chars();
        let first = characters
            .next()
            .is_some_and(|first| first.is_ascii_lowercase());
        if !first || !characters.all(|c| c.is_ascii_alphanumeric()) {
            return Err(Fault::new("is no type of provider", PROVIDER.hint));
        }
        Ok(match text {
            "azure" => "azurekv",
            "gcp" => "gcpsm",
            other => other,
        }
        .to_owned())
    },
};

pub(super) static STORE: Format = Format {
    hint: "write `ClusterSecretStore/NAME` or `SecretStore/NAMESPACE/NAME`",
    example: "ClusterSecretStore/vault",
    pattern: r"^(ClusterSecretStore|SecretStore/[-a-z0-9.]+)/[-a-z0-9.]+$",
    read: |text| match text.parse::<StoreKey>() {
        Ok(store) if is_name(store.name()) && store.namespace().is_none_or(is_name) => {
            Ok(text.to_owned())
        }
        _ => Err(Fault::new("names no store", STORE.hint)),
    },
};

pub(super) static ENDPOINT: Format = Format {
    hint: InvalidOrigin::HINT,
    example: "https://vault.corp:8200",
    pattern: r"^[hH][tT][tT][pP][sS]?://[^/?#@]+/?$",
    read: |text| match text.parse::<Origin>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Fault::new(error.to_string(), InvalidOrigin::HINT)),
    },
};

pub(super) static ANNOTATION: Format = Format {
    hint: "write a key like `force-sync` or `example.com/force-sync`",
    example: "force-sync",
    pattern: r"^([-a-z0-9.]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
    read: |text| {
        if !is_label_key(text) {
            return Err(Fault::new("is no key of an annotation", ANNOTATION.hint));
        }
        // The operator, kubectl and eso-sync itself read these: a time written there would mean something else to them.
        let reserved = [
            "kubectl.kubernetes.io",
            "reconcile.external-secrets.io",
            "eso-sync",
        ];
        if let Some(owner) = text
            .split_once('/')
            .map(|(owner, _)| owner)
            .filter(|owner| reserved.contains(owner))
        {
            return Err(Fault::new(
                format!("belongs to others: keys of `{owner}/` have a meaning of their own"),
                ANNOTATION.hint,
            ));
        }
        Ok(text.to_owned())
    },
};
