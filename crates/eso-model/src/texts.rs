//! Classifies the operator's error texts and removes everything that could contain secret data.
//!
//! The operator's error texts can contain fragments of values, for example from a failing template or an invalid
//! `.dockerconfigjson`. Only pieces with known patterns are quoted; everything else is replaced by a mark.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

/// Replaces omitted text.
const OMITTED: &str = "…";

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
    /// The provider is unreachable, or fails.
    Unavailable,
    /// Any other error.
    Other,
}

/// A classified and cleaned error text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    pub class: ErrorClass,
    /// The text without parts that could contain secret data.
    pub text: String,
}

/// Classifies and cleans an error text of the operator.
pub fn quote(text: &str) -> Quoted {
    Quoted {
        class: classify(text),
        text: clean(text),
    }
}

/// The first match wins. The order matters: a denial often reads "not found or access denied", and throttling also comes
/// as 400 or 403.
static REASON_PATTERNS: LazyLock<Vec<(ErrorClass, Regex)>> = LazyLock::new(|| {
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

/// Names chosen by users. Words in them say nothing about the cause.
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

fn classify(text: &str) -> ErrorClass {
    if text.contains("does not exist in secret") {
        return ErrorClass::NotFound;
    }
    let named = NAMES
        .as_ref()
        .map_or(Cow::Borrowed(text), |names| names.replace_all(text, "\"\""));
    let text: &str = &named;
    REASON_PATTERNS
        .iter()
        .find(|(_, pattern)| pattern.is_match(text))
        .map_or(ErrorClass::Other, |(reason, _)| *reason)
}

/// Patterns that cannot match secret data: fixed texts of the operator, the SDKs and Go, and names from specs.
static SAFE_PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    // ASCII and unbounded, because otherwise the compiled pattern exceeds the size limit.
    let name = r"[-_A-Za-z0-9./]+";
    // Only at the places where the operator itself writes the remote key.
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

/// Keeps the safe pieces in their order and marks what was omitted between them.
fn clean(text: &str) -> String {
    let Some(safe) = &*SAFE_PATTERN else {
        return OMITTED.to_owned();
    };
    let mut shown = String::new();
    let mut end = 0;
    for piece in safe.find_iter(text) {
        let between = text.get(end..piece.start()).unwrap_or_default();
        if is_connective(between) {
            shown.push_str(if end == 0 {
                between.trim_start()
            } else {
                between
            });
        } else {
            push_separated(&mut shown, OMITTED);
            shown.push(' ');
        }
        shown.push_str(piece.as_str());
        end = piece.end();
    }
    if !is_connective(text.get(end..).unwrap_or_default()) {
        push_separated(&mut shown, OMITTED);
    }
    shown
}

/// True for punctuation and the operator's connecting words.
fn is_connective(text: &str) -> bool {
    let words = ["https response error", "api error", "err"];
    let rest = words
        .iter()
        .fold(text.to_owned(), |rest, word| rest.replace(word, ""));
    rest.chars().all(|character| " ,:;()".contains(character))
}

fn push_separated(shown: &mut String, piece: &str) {
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
        assert!(SAFE_PATTERN.is_some());
        assert_eq!(REASON_PATTERNS.len(), 7);
    }

    #[test]
    fn known_patterns_are_quoted() {
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
    fn denial_keeps_user_action_and_resource() {
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
    fn user_chosen_names_do_not_affect_the_reason() {
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
    fn fragments_of_values_are_omitted() {
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
            assert!(shown.contains(OMITTED), "{shown}");
        }
    }
}
