//! Classifies the operator's error texts and removes everything that could contain secret data.
//!
//! The operator's error texts can contain fragments of values, for example from a failing template or an invalid
//! `.dockerconfigjson`. Only pieces with known patterns are quoted; everything else is replaced by a mark.

mod class;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use regex::Regex;

pub use self::class::ErrorClass;
use self::class::classify;

/// Replaces omitted text.
const OMITTED: &str = "…";

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
        format!(r"(?:secret is owned by another ExternalSecret: {name}|secret is immutable)"),
        format!(r"could not set (?:ExternalSecret )?controller reference(?: on secret)?: Object {name} is already owned by another \w+ controller {name}"),
        format!(r"exceeded quota: {name}"),
        format!(r#"Secret "{name}" is invalid"#),
        format!(r#"type: Invalid value: "{name}": field is immutable"#),
        r"data\[(?:\.dockerconfigjson|\.dockercfg|tls\.crt|tls\.key|ssh-privatekey|username|password)\]: (?:Required value|Invalid value)".to_owned(),
        r"metadata\.annotations\[kubernetes\.io/service-account\.name\]: Required value".to_owned(),
        r"(?:data: Too long|invalid secret keys|is already owned by another)".to_owned(),
        r"operation error [A-Z][A-Za-z ]+: [A-Za-z]+".to_owned(),
        r"StatusCode[:=] ?\d{3}".to_owned(),
        r"RESPONSE \d{3}".to_owned(),
        r"\bAADSTS\d+".to_owned(),
        r#"\b[Cc]ode"?[=:] ?"[A-Z]\w+""#.to_owned(),
        r"ERROR CODE: [A-Z]\w+".to_owned(),
        r"rpc error: code = [A-Z]\w+".to_owned(),
        r"is in (?:DISABLED|DESTROYED) state".to_owned(),
        r"(?:marked for deletion|not allowed on a disabled secret)".to_owned(),
        r#"oauth2: "invalid_(?:grant|client)""#.to_owned(),
        r"\b[A-Z]\w*(?:Exception|NotFound|Forbidden)\b(?:: Rate exceeded)?".to_owned(),
        r"User: arn:[-\w:/+=,.@]+ is not authorized to perform: [\w:]+(?: on resource: [-\w:/+=,.@?*]+)?(?: because no [-a-z ]+ allows the [\w:]+ action)?".to_owned(),
        r"(?i:rate exceeded|too many requests|throttling|quota exceeded|rate limit exceeded|permission denied|access denied|unauthorized|forbidden)".to_owned(),
        r"(?:context deadline exceeded|connection refused|connection reset by peer|i/o timeout|TLS handshake timeout|no such host|unexpected EOF|x509: certificate signed by unknown authority|x509: certificate has expired or is not yet valid|Vault is sealed|invalid token|invalid role or secret ID)".to_owned(),
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
