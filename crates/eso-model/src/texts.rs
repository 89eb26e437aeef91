//! The operator's own error texts: what they mean, and which parts of them may be quoted.
//!
//! A text of the operator's can hold fragments of values (a failing template or an invalid `.dockerconfigjson` puts them
//! there). So nothing is quoted but pieces of known shapes; whatever stands between them is left out, and said to be.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

/// What stands where something was left out.
const LEFT_OUT: &str = "…";

/// The class of an error text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The provider throttles.
    Throttled,
    /// The store is not ready.
    StoreNotReady,
    /// The store does not exist.
    StoreMissing,
    /// The provider, or a condition of the store, denies the read.
    Denied,
    /// A template cannot be rendered.
    Template,
    /// There is no such secret, version or property.
    NotFound,
    /// The provider cannot be reached, or fails.
    Unavailable,
    /// None of these.
    Other,
}

/// An error text of the operator's, understood and cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// What went wrong.
    pub class: ErrorClass,
    /// What may be shown.
    pub text: String,
}

/// Understands and cleans an error text of the operator's.
pub fn quote(text: &str) -> Quoted {
    Quoted {
        class: understand(text),
        text: clean(text),
    }
}

/// In this order: a denial often names the thing as "not found or access denied", and throttling comes as 400 or 403 too.
static MEANINGS: LazyLock<Vec<(ErrorClass, Regex)>> = LazyLock::new(|| {
    [
        (ErrorClass::Throttled, r"(?i)throttl|too ?many ?requests|rate exceeded|RESOURCE_EXHAUSTED|RequestLimitExceeded|quota exceeded|rate limit|\b429\b"),
        (ErrorClass::StoreNotReady, r#"(Cluster)?SecretStore "[^"]*" is not ready"#),
        (ErrorClass::StoreMissing, r#"could not get (Cluster)?SecretStore "[^"]*""#),
        (ErrorClass::Denied, r"(?i)AccessDenied|not authorized|unauthorized|permission ?denied|denied by spec\.condition|forbidden|UnrecognizedClient|InvalidClientTokenId|ExpiredToken|SignatureDoesNotMatch|AADSTS\d+|\b40[13]\b"),
        (ErrorClass::Template, r"(?i)template|could not be parsed|unable to parse"),
        (ErrorClass::NotFound, r"(?i)does not exist|not found|ResourceNotFound|ParameterNotFound|SecretNotFound|cannot find secret data|NoSecretError|\b404\b"),
        (ErrorClass::Unavailable, r"(?i)timeout|deadline exceeded|connection refused|connection reset|no such host|unavailable|InternalServiceError|InternalFailure|\bEOF\b|x509:|tls:|sealed|\b50[0234]\b"),
    ]
    .into_iter()
    .filter_map(|(reason, pattern)| Regex::new(pattern).ok().map(|regex| (reason, regex)))
    .collect()
});

/// What users named: it says nothing of what went wrong, whatever words are in it.
static NAMES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let names = [
        r"\bkey: [^\s,)]+",
        r"\bkey \S+ does not exist in secret \S+",
        r"\bon resource: \S+",
        r"arn:\S+",
        r#""[^"]*""#,
    ];
    Regex::new(&names.join("|")).ok()
});

fn understand(text: &str) -> ErrorClass {
    if text.contains("does not exist in secret") {
        return ErrorClass::NotFound;
    }
    let named = NAMES
        .as_ref()
        .map_or(Cow::Borrowed(text), |names| names.replace_all(text, "\"\""));
    let text: &str = &named;
    MEANINGS
        .iter()
        .find(|(_, pattern)| pattern.is_match(text))
        .map_or(ErrorClass::Other, |(reason, _)| *reason)
}

/// Pieces that cannot hold a value: words of the operator, of the SDKs and of Go, and names that stand in specs.
static SAFE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    // ASCII and without a bound: with either, the compiled pattern passes the size limit.
    let name = r"[-_A-Za-z0-9./]+";
    // Only where the operator itself puts the remote key.
    let key = format!(r"(?:,? ?\(?key: {name})?");
    let pieces = [
        format!(r"error (?:retrieving|processing|getting) (?:secret|generator)?(?:s|data)?(?: ?at)? ?\.?(?:spec\.)?(?:data|dataFrom)\[\d+\](?:\.\w+)*{key}"),
        format!(r"(?:spec)?\.(?:data|dataFrom)\[\d+\](?:\.\w+)*{key}"),
        r"Secret does not exist".to_owned(),
        format!(r"key {name} does not exist in secret {name}"),
        format!(r#"cannot find secret data for key: "{name}""#),
        format!(r#"could not get (?:Cluster)?SecretStore "{name}""#),
        format!(r#"(?:Cluster)?SecretStore(?:\.external-secrets\.io)? "{name}" (?:is not ready|not found)"#),
        format!(r#"using cluster store "{name}" is not allowed from namespace "{name}": denied by spec\.condition"#),
        r"(?:target is owned by another ExternalSecret|target is immutable|could not update secret|could not get secret data from provider|could not delete (?:secret|orphaned secrets)|failed to take ownership of target secret|invalid generic target)".to_owned(),
        r"operation error [A-Z][A-Za-z ]+: [A-Za-z]+".to_owned(),
        r"StatusCode: \d{3}".to_owned(),
        r"\b[A-Z]\w*(?:Exception|NotFound|Forbidden)\b(?:: Rate exceeded)?".to_owned(),
        r"User: arn:[-\w:/+=,.@]+ is not authorized to perform: [\w:]+(?: on resource: [-\w:/+=,.@?*]+)?(?: because no [-a-z ]+ allows the [\w:]+ action)?".to_owned(),
        r"(?i:rate exceeded|too many requests|throttling|quota exceeded|rate limit exceeded|permission denied|access denied|unauthorized|forbidden)".to_owned(),
        r"(?:context deadline exceeded|connection refused|connection reset by peer|i/o timeout|TLS handshake timeout|no such host|unexpected EOF|x509: certificate signed by unknown authority|Vault is sealed)".to_owned(),
        r"Code: \d{3}".to_owned(),
        r"\b(?:could not|unable to|failed to|cannot) (?:apply|execute|parse|decode|render|get|read|fetch|find|merge|convert|rewrite|validate|login|log in)(?: (?:the|a|to|from|at|secret|data|template|key|store|provider|client|value|values|path|token|keys)\b)*".to_owned(),
        format!(r#"map has no entry for key "{name}""#),
        r"function .\w+. not defined".to_owned(),
        r"secret name collision during conversion".to_owned(),
    ];
    Regex::new(&pieces.join("|")).ok()
});

/// Keeps the pieces of known shapes, in order, and marks what was left out between them.
fn clean(text: &str) -> String {
    let Some(safe) = &*SAFE else {
        return LEFT_OUT.to_owned();
    };
    let mut shown = String::new();
    let mut end = 0;
    for piece in safe.find_iter(text) {
        let between = text.get(end..piece.start()).unwrap_or_default();
        if is_glue(between) {
            shown.push_str(if end == 0 {
                between.trim_start()
            } else {
                between
            });
        } else {
            push_apart(&mut shown, LEFT_OUT);
            shown.push(' ');
        }
        shown.push_str(piece.as_str());
        end = piece.end();
    }
    if !is_glue(text.get(end..).unwrap_or_default()) {
        push_apart(&mut shown, LEFT_OUT);
    }
    shown
}

/// Punctuation and the operator's own joining words.
fn is_glue(text: &str) -> bool {
    let words = ["https response error", "api error", "err"];
    let rest = words
        .iter()
        .fold(text.to_owned(), |rest, word| rest.replace(word, ""));
    rest.chars().all(|character| " ,:;()".contains(character))
}

fn push_apart(shown: &mut String, piece: &str) {
    if !shown.is_empty() && !shown.ends_with(' ') {
        shown.push(' ');
    }
    shown.push_str(piece);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str) -> (ErrorClass, String) {
        let quoted = quote(text);
        (quoted.class, quoted.text)
    }

    #[test]
    fn the_patterns_compile() {
        assert!(SAFE.is_some());
        assert_eq!(MEANINGS.len(), 7);
    }

    #[test]
    fn known_shapes_are_quoted() {
        for (text, reason) in [
            (
                "error processing spec.data[0] (key: nope), err: Secret does not exist",
                ErrorClass::NotFound,
            ),
            (
                "error retrieving secret at .data[0], key: db/creds, err: Secret does not exist",
                ErrorClass::NotFound,
            ),
            (
                r#"ClusterSecretStore "aws-prod" is not ready"#,
                ErrorClass::StoreNotReady,
            ),
            (
                r#"could not get SecretStore "gone", SecretStore.external-secrets.io "gone" not found"#,
                ErrorClass::StoreMissing,
            ),
            (
                r#"using cluster store "x" is not allowed from namespace "y": denied by spec.condition"#,
                ErrorClass::Denied,
            ),
            ("ThrottlingException: Rate exceeded", ErrorClass::Throttled),
        ] {
            assert_eq!(quoted(text), (reason, text.to_owned()));
        }
    }

    #[test]
    fn a_denial_keeps_who_and_what() {
        let (reason, text) = quoted(
            "operation error Secrets Manager: GetSecretValue, https response error StatusCode: 400, RequestID: 7f2c, \
             api error AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/eso/1 is not authorized to perform: \
             secretsmanager:GetSecretValue on resource: db because no identity-based policy allows the \
             secretsmanager:GetSecretValue action",
        );
        assert_eq!(reason, ErrorClass::Denied);
        assert!(
            text.contains(
                "is not authorized to perform: secretsmanager:GetSecretValue on resource: db"
            ),
            "{text}"
        );
        assert!(!text.contains("7f2c"), "{text}");
    }

    #[test]
    fn what_users_named_is_not_what_went_wrong() {
        for key in [
            "email-template",
            "throttle-config",
            "api/forbidden-fruit",
            "x-timeout",
            "db",
        ] {
            let text =
                format!("error processing spec.data[0] (key: {key}), err: Secret does not exist");
            assert_eq!(quoted(&text), (ErrorClass::NotFound, text.clone()));
        }
        let store = r#"ClusterSecretStore "throttled-template" is not ready"#;
        assert_eq!(quoted(store).0, ErrorClass::StoreNotReady);
        assert_eq!(
            quoted("key denied does not exist in secret throttling").0,
            ErrorClass::NotFound
        );
    }

    #[test]
    fn fragments_of_values_are_left_out() {
        for text in [
            "error calling fromYaml: api-key: hunter2 is bad",
            "could not parse: key: hunter2 is bad",
            "could not apply template: invalid character 'w' looking for beginning of value",
            r#"error unmarshalling secret: invalid character 'h' after top-level value: "hunter2""#,
            "unable to parse key hunter2 as json",
            r#"could not update secret: Secret "x" is invalid: data[.dockerconfigjson]: Invalid value: "hunter2": invalid character 'h' looking for beginning of value"#,
            r#"template: x:1:2: executing "x" at <fromJson .a>: error calling fromJson: hunter2 is not json"#,
            "hunter2",
        ] {
            let shown = quoted(text).1;
            assert!(
                !shown.contains("hunter") && !shown.contains("'w'") && !shown.contains("'h'"),
                "{shown}"
            );
            assert!(shown.contains(LEFT_OUT), "{shown}");
        }
    }
}
