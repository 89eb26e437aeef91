//! Which names a provider accepts.

use eso_model::{ProviderKind, provider::NameRules};

use super::{InvalidName, Style, Unpublishable};

/// The characters after the last `-` in the ARN of a secret in AWS Secrets Manager.
const ARN_END: usize = 6;
/// The maximum length of a parameter's ARN, without the longest start: `arn:aws-us-gov:ssm:us-gov-east-1:123456789012:parameter`.
const LONGEST_PARAMETER: usize = 1011 - 55;
/// The maximum number of parts of a parameter's name.
const PARAMETER_LEVELS: usize = 15;
/// The maximum length of a path in Vault, of our own choice: Vault limits only the size of a request.
const LONGEST_PATH: usize = 1024;

pub(super) fn check(provider: &ProviderKind, name: &str, style: Style) -> Result<(), InvalidName> {
    let ascii = |c: char, more: &str| c.is_ascii_alphanumeric() || more.contains(c);
    let Some(publishing) = provider.facts().publishing else {
        let message = "nothing can be published to this provider; use AWS, Azure, GCP or Vault";
        return Err(InvalidName::new(
            Unpublishable::UnsupportedProvider,
            message,
        ));
    };
    match publishing.names {
        NameRules::SecretsManager => {
            form(
                name,
                512,
                |c| ascii(c, "/_+=.@-"),
                "letters A-Z, digits and / _ + = . @ -",
            )?;
            // Names that exist already are kept.
            if style == Style::Smc {
                Ok(())
            } else {
                arn_end(name)
            }
        }
        NameRules::ParameterStore => {
            let allowed = "letters A-Z, digits and _ . - /";
            form(name, LONGEST_PARAMETER, |c| ascii(c, "_.-/"), allowed)?;
            parameter(name)
        }
        NameRules::KeyVault => form(name, 127, |c| ascii(c, "-"), "letters A-Z, digits and -"),
        NameRules::GcpSecretManager => form(
            name,
            255,
            |c| ascii(c, "_-"),
            "letters A-Z, digits, _ and -",
        ),
        NameRules::VaultKv => {
            let allowed = |c: char| c.is_alphanumeric() || "_.@:+=~ -/".contains(c);
            form(
                name,
                LONGEST_PATH,
                allowed,
                "letters, digits, blanks and _ . @ : + = ~ - /",
            )?;
            path(name)
        }
    }
}

fn form(
    name: &str,
    longest: usize,
    is_allowed: impl Fn(char) -> bool,
    allowed: &str,
) -> Result<(), InvalidName> {
    if name.is_empty() {
        return invalid("the name is empty");
    }
    if name.len() > longest {
        let message = format!(
            "the name has more than {longest} bytes, the provider's limit; use a shorter prefix or suffix"
        );
        return Err(InvalidName::new(Unpublishable::NameTooLong, message));
    }
    if name.chars().all(is_allowed) {
        return Ok(());
    }
    let message = format!(
        "the name contains a character that the provider refuses; allowed are {allowed}. Rename the key, or use `style: smc`, which replaces others by _"
    );
    Err(InvalidName::new(Unpublishable::InvalidName, message))
}

fn invalid(message: &'static str) -> Result<(), InvalidName> {
    Err(InvalidName::new(Unpublishable::InvalidName, message))
}

/// AWS appends `-` and six letters or digits to the name to form the ARN. A name that ends so is taken for another's ARN.
fn arn_end(name: &str) -> Result<(), InvalidName> {
    let Some((_, end)) = name.rsplit_once('-') else {
        return Ok(());
    };
    if end.len() == ARN_END && end.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let message = "the name ends with `-` and six characters, like the end of an ARN, with which AWS confuses it; use `style: path`, or a suffix";
        return Err(InvalidName::new(Unpublishable::ReservedName, message));
    }
    Ok(())
}

fn parameter(name: &str) -> Result<(), InvalidName> {
    let inner = name.strip_prefix('/').unwrap_or(name);
    if inner.split('/').any(str::is_empty) {
        return invalid("a part of the name between two `/` is empty");
    }
    if inner.contains('/') && inner.len() == name.len() {
        return invalid(
            "a parameter's name with `/` must start with `/`; start the prefix with it, or use `style: path`",
        );
    }
    if inner.split('/').count() > PARAMETER_LEVELS {
        return invalid("a parameter's name has at most 15 parts between `/`");
    }
    let start = inner.get(..3).unwrap_or_default();
    if start.eq_ignore_ascii_case("aws") || start.eq_ignore_ascii_case("ssm") {
        let message =
            "AWS reserves names of parameters that start with aws or ssm; use another prefix";
        return Err(InvalidName::new(Unpublishable::ReservedName, message));
    }
    Ok(())
}

fn path(name: &str) -> Result<(), InvalidName> {
    let is_bad = |part: &str| part.trim() != part || matches!(part, "" | "." | "..");
    if name.split('/').any(is_bad) {
        return invalid("a part of the path is empty, `.` or `..`, or has blanks at its ends");
    }
    Ok(())
}
