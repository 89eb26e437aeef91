//! Finds the class of an error text by the fixed words and codes of the operator, the API server and the providers.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

/// The class of an error text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::VariantArray)]
pub enum ErrorClass {
    /// The provider throttles.
    Throttled,
    /// The store is not ready.
    StoreNotReady,
    /// The store does not exist.
    StoreMissing,
    /// The conditions of the ClusterSecretStore exclude the namespace.
    NamespaceNotAllowed,
    /// The store's credentials have expired, or were revoked.
    CredentialsExpired,
    /// The provider does not accept the store's credentials.
    LoginFailed,
    /// The provider denies the read.
    Denied,
    /// A template cannot be rendered.
    Template,
    /// There is no such secret, version or property.
    NotFound,
    /// The version is disabled or destroyed, or the secret is scheduled for deletion.
    VersionUnavailable,
    /// The certificate of the provider's server is signed by an unknown authority.
    UnknownAuthority,
    /// The certificate of the provider's server is expired or for another name.
    CertificateInvalid,
    /// The Vault is sealed.
    Sealed,
    /// The provider is unreachable, or fails.
    Unavailable,
    /// A `ResourceQuota` of the namespace allows no more Secrets.
    QuotaExceeded,
    /// Another object controls the target Secret.
    OwnedByOther,
    /// The target Secret is immutable.
    Immutable,
    /// The API server rejects the Secret: its type, keys or size, or an admission policy does.
    InvalidSecret,
    /// The operator's own ServiceAccount may not write the Secret.
    OperatorDenied,
    /// Any other error.
    Other,
}

/// The first match wins. What the operator itself says comes first, because the rest of such a text may contain parts of values.
/// A denial often reads "not found or access denied", and throttling also comes as 400 or 403.
const PATTERNS: &[(ErrorClass, &str)] = &[
    (
        ErrorClass::InvalidSecret,
        r#"\btemplate\.type="[^"]*" .*is not allowed\b|\btemplateFrom target="[^"]*" is not allowed\b"#,
    ),
    (
        ErrorClass::Template,
        r"\bcould not (?:apply|execute) template\b|\berror fetching templateFrom data\b|^template: ",
    ),
    (
        ErrorClass::OwnedByOther,
        r"\b(?:secret|target) is owned by another ExternalSecret\b|\bcould not set (?:ExternalSecret )?controller reference\b|\bfailed to take ownership of target secret\b",
    ),
    (ErrorClass::Immutable, r"\b(?:secret|target) is immutable\b"),
    (
        ErrorClass::InvalidSecret,
        r#"\bSecret "[^"]*" is invalid: |\binvalid secret keys\b|\brequest is too large\b|\badmission webhook "[^"]*" denied the request\b|\bValidatingAdmissionPolicy .*\bdenied request\b"#,
    ),
    (
        ErrorClass::OperatorDenied,
        r"\bcannot (?:create|update|patch|delete) resource\b",
    ),
    (ErrorClass::QuotaExceeded, r"\bexceeded quota: "),
    (
        ErrorClass::StoreNotReady,
        r#"\b(?:Cluster)?SecretStore "[^"]*" is not ready\b"#,
    ),
    (
        ErrorClass::StoreMissing,
        r#"\bcould not get (?:Cluster)?SecretStore "[^"]*""#,
    ),
    (
        ErrorClass::NamespaceNotAllowed,
        r"\bdenied by spec\.condition\b",
    ),
    (
        ErrorClass::Sealed,
        r"(?i)\b(?:Vault|OpenBao|namespace) is sealed\b",
    ),
    (
        ErrorClass::VersionUnavailable,
        r"\bis in (?:DISABLED|DESTROYED) state\b|\bSecretDisabled\b|\bnot allowed on a disabled secret\b|\bmarked (?:for deletion|deleted)\b",
    ),
    (
        ErrorClass::Throttled,
        r"(?i)\bthrottl(?:ed|ing)(?:Exception)?\b|\bRequestThrottled(?:Exception)?\b|\btoo many requests\b|\bTooManyRequests(?:Exception)?\b|\brate exceeded\b|\bRESOURCE_?EXHAUSTED\b|\bRequestLimitExceeded\b|\bProvisionedThroughputExceededException\b|\bSlowDown\b|\bquota exceeded\b|\brate limit (?:quota )?exceeded\b|CODE429\b",
    ),
    (
        ErrorClass::CredentialsExpired,
        r"\bExpiredToken(?:Exception)?\b|\bTokenRefreshRequired\b|\bAADSTS(?:7000222|700024|700082|50173|500133)\b|\bACCESS_TOKEN_EXPIRED\b|(?i)\btoken (?:has been |has |is )?expired\b|\bexpired or revoked\b|\bcredentials (?:have |are )?expired\b|\bkeys? (?:for app \S+ )?(?:are|is|has) expired\b|\* invalid token\b",
    ),
    (
        ErrorClass::UnknownAuthority,
        r"(?i)\bsigned by unknown authority\b|\bunable to get (?:local )?issuer certificate\b|\bself[- ]signed certificate\b|\bcertificate is not trusted\b",
    ),
    (
        ErrorClass::CertificateInvalid,
        r"\bx509: |\bfailed to verify certificate\b",
    ),
    (
        ErrorClass::LoginFailed,
        r"\bUnrecognizedClientException\b|\bInvalidClientTokenId\b|\bInvalidAccessKeyId\b|\bInvalidSignatureException\b|\bSignatureDoesNotMatch\b|\bIncompleteSignature(?:Exception)?\b|\bMissingAuthenticationToken(?:Exception)?\b|\bInvalidIdentityToken\b|\bAuthFailure\b|\boperation error STS: AssumeRole\w*, .*\bAccessDenied\b|\bAADSTS\d+\b|\binvalid_(?:grant|client)\b|\bunauthorized_client\b|\bcode = Unauthenticated\b|\bUNAUTHENTICATED\b|\binvalid role or secret ID\b|\binvalid role ID\b|\binvalid secret id\b|\binvalid username or password\b|\bmissing client token\b|\bcould not find default credentials\b|\bno EC2 IMDS role found\b",
    ),
    (
        ErrorClass::Denied,
        r"(?i)\bAccess ?Denied(?:Exception)?\b|\bnot authorized\b|\bpermission ?denied\b|\bForbidden(?:By\w+)?\b|\bPermission '[^']*' denied\b|CODE403\b",
    ),
    (ErrorClass::LoginFailed, r"(?i)\bunauthorized\b|CODE401\b"),
    (
        ErrorClass::NotFound,
        r"(?i)\bdoes not exist\b|\bnot found\b|\bResourceNotFound(?:Exception)?\b|\bParameter(?:Version)?NotFound\b|\bSecretNotFound\b|\bcannot find secret data\b|\bfailed to find data field\b|\bNoSecretError\b|\bcan't find the specified secret value\b|CODE404\b",
    ),
    (
        ErrorClass::Unavailable,
        r"(?i)\btimeout\b|\btimed out\b|\bdeadline exceeded\b|\bDeadlineExceeded\b|\bconnection (?:refused|reset)\b|\bno such host\b|\bserver misbehaving\b|\b(?:no route to host|network is unreachable)\b|\bunavailable\b|\bInternalServiceError\b|\bInternalServerError\b|\bInternalFailure\b|\bServiceUnavailable(?:Exception)?\b|\bEOF\b|\btls: |\bbroken pipe\b|CODE50[0234]\b",
    ),
    (
        ErrorClass::LoginFailed,
        r"\bunable to log in\b|\binvalid vault credentials\b|\bcannot (?:parse Vault authentication token|request Kubernetes service account token)\b|\bunable to (?:create session|get credentials|fetch pod token|generate gcp access token)\b",
    ),
];

static COMPILED: LazyLock<Vec<(ErrorClass, Regex)>> = LazyLock::new(|| {
    let compiled = PATTERNS.iter().filter_map(|(class, pattern)| {
        let pattern = pattern.replace("CODE", STATUS);
        Some((*class, Regex::new(&pattern).ok()?))
    });
    compiled.collect()
});

/// The words in front of an HTTP status: `StatusCode: 403`, `Code: 403.`, `RESPONSE 403:`, `StatusCode=403`.
const STATUS: &str = r"\b(?:status ?code|code|status|response|http)\b[:= ]{1,3}'?";

/// Names chosen by users, and addresses. Words in them say nothing about the cause.
static NAMES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let names = [
        r"\bkey: [^\s,)]+",
        r"\bkey \S+ does not exist in secret \S+",
        r"\bon resource: \S+",
        r"arn:\S+",
        r"\bhttps?://\S+",
        r"\bprojects/[^\s\]']+",
    ];
    Regex::new(&names.join("|")).ok()
});

/// Quoted texts. Azure quotes its codes, and Google the cause of a failed login.
static QUOTED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?P<code>"?\b[Cc]ode"?[=:] ?"\w+"|"error" ?: ?"\w+"|"AADSTS\d+|\boauth2: "\w+"(?: "[A-Z][a-z A-Z]+\.")?|\btemplate\.type="[^"]*"|\btemplateFrom target="[^"]*")|"[^"]*""#).ok()
});

/// Returns the class of an error text.
pub(super) fn classify(text: &str) -> ErrorClass {
    if text.contains("does not exist in secret") {
        return ErrorClass::NotFound;
    }
    let text = NAMES
        .as_ref()
        .map_or(Cow::Borrowed(text), |names| names.replace_all(text, "NAME"));
    let text = QUOTED.as_ref().map_or(Cow::Borrowed(&*text), |quoted| {
        quoted.replace_all(&text, |found: &regex::Captures<'_>| {
            let code = found.name("code");
            code.map_or("\"\"", |code| code.as_str()).to_owned()
        })
    });
    COMPILED
        .iter()
        .find(|(_, pattern)| pattern.is_match(&text))
        .map_or(ErrorClass::Other, |(class, _)| *class)
}

#[cfg(test)]
#[test]
fn the_patterns_compile() {
    assert_eq!(COMPILED.len(), PATTERNS.len());
    assert!(NAMES.is_some() && QUOTED.is_some());
}
