//! Classifies errors of AWS. Passes on only error codes, never error texts.

use std::{error::Error, fmt};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::{
    assume_role::AssumeRoleError, assume_role_with_web_identity::AssumeRoleWithWebIdentityError,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use cluster::cause::{self, Certificate};
use eso_model::expected::Failure;
pub(super) use eso_model::remote::partition;

use crate::{
    Answered, Unread,
    answer::is_code,
    engine::{ErrorClass, Failure as CallFailure, Request, retry_after},
    unread,
};

/// A classified error of AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AwsError {
    /// AWS's error code, or a fixed text if AWS did not answer.
    pub(super) code: String,
    pub(super) kind: Kind,
    /// True if the error text says that the secret is scheduled for deletion.
    deleted: bool,
    /// The problem with the server's certificate, if that is the reason.
    certificate: Option<Certificate>,
    /// True if the error text is about a KMS key.
    key: bool,
    /// The caller's partition and account from the text of a permission error.
    caller: Option<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An error that only decides about retries: throttling, failures, expired credentials.
    Call(ErrorClass),
    /// There are no credentials, or AWS does not accept them.
    Login,
    /// The credentials are valid but lack a permission.
    Denied,
    /// The secret, parameter or version does not exist.
    NotFound,
    /// AWS rejects the name or another part of the request.
    Invalid,
    /// An unknown error.
    Other,
}

impl AwsError {
    /// Classifies the client's error.
    pub(super) fn of<E: ProvideErrorMetadata + Error + 'static>(
        error: &SdkError<E, HttpResponse>,
    ) -> Self {
        let mut classified = Self::classify(error);
        if let Kind::Call(ErrorClass::Throttled(wait) | ErrorClass::Failed(wait)) =
            &mut classified.kind
        {
            // Also if the answer comes from a proxy, not from AWS.
            let headers = error.raw_response().map(HttpResponse::headers);
            *wait = headers
                .and_then(|headers| headers.get("retry-after"))
                .and_then(retry_after);
        }
        classified
    }

    fn classify<E: ProvideErrorMetadata + Error + 'static>(
        error: &SdkError<E, HttpResponse>,
    ) -> Self {
        let status = error.raw_response().map(|raw| raw.status().as_u16());
        if let Some(service) = error.as_service_error() {
            return Self::said(service.code(), service.message(), status);
        }
        if in_chain::<CredentialsError>(error).is_some() {
            return Self::new(login_failure(error), Kind::Login);
        }
        match (error, status) {
            (SdkError::TimeoutError(_), _) => {
                Self::new("no answer in time", Kind::Call(ErrorClass::Failed(None)))
            }
            (SdkError::DispatchFailure(_), _) if is_connect(error) => Self {
                certificate: cause::certificate(error),
                ..Self::new(cause::of(error), Kind::Call(ErrorClass::Unreachable))
            },
            (SdkError::DispatchFailure(_), _) => {
                Self::new(cause::of(error), Kind::Call(ErrorClass::Failed(None)))
            }
            // The connection broke during the answer, whatever its status.
            (SdkError::ResponseError(_), _) if in_chain::<hyper::Error>(error).is_some() => {
                Self::new("the answer broke off", Kind::Call(ErrorClass::Failed(None)))
            }
            (_, Some(status)) => Self::said(None, None, Some(status)),
            _ => Self::new(
                "the request could not be made",
                Kind::Call(ErrorClass::Unusable),
            ),
        }
    }

    /// Classifies an error in AWS's answer, or the error of one secret in the answer to a batch.
    pub(super) fn said(code: Option<&str>, text: Option<&str>, status: Option<u16>) -> Self {
        let text = text.unwrap_or_default();
        let code = code.filter(|code| is_code(code));
        let lower = text.to_ascii_lowercase();
        Self {
            kind: kind(code.unwrap_or_default(), status),
            deleted: lower.contains("marked for deletion") || lower.contains("marked deleted"),
            certificate: None,
            key: lower.contains("kms") || lower.contains("ciphertext"),
            caller: caller(text),
            code: match (code, status) {
                (Some(code), _) => code.to_owned(),
                (None, Some(status)) => format!("HTTP {status}"),
                (None, None) => "no error code".to_owned(),
            },
        }
    }

    fn new(code: impl Into<String>, kind: Kind) -> Self {
        Self {
            code: code.into(),
            kind,
            deleted: false,
            certificate: None,
            key: false,
            caller: None,
        }
    }

    /// The class that decides about retries.
    pub(super) const fn class(&self) -> ErrorClass {
        match self.kind {
            Kind::Call(class) => class,
            Kind::Login | Kind::Denied | Kind::NotFound | Kind::Invalid | Kind::Other => {
                ErrorClass::Final
            }
        }
    }

    /// True if AWS denied the call.
    pub(super) fn is_denied(&self) -> bool {
        self.kind == Kind::Denied
    }

    /// True if the cause may be one of the requested keys: one invalid name fails a batch.
    pub(super) fn may_be_caused_by_a_key(&self) -> bool {
        matches!(
            self.kind,
            Kind::Invalid | Kind::NotFound | Kind::Other | Kind::Call(ErrorClass::Unusable)
        )
    }

    /// The answer to a read that failed with this error, if the operator reads with the same call.
    pub(super) fn answer(&self, needed: &Needed<'_>) -> Answered {
        match self.kind {
            // The operator treats only one of the two codes as a missing secret, and the other as an error.
            Kind::Invalid if self.deleted && self.code == "InvalidParameterException" => {
                Answered::NotFound
            }
            Kind::Invalid if self.deleted => Answered::Fails(Failure::ScheduledForDeletion),
            Kind::Invalid => Answered::Fails(Failure::Refused),
            Kind::NotFound => needed.absent(&self.code),
            Kind::Call(_) | Kind::Login | Kind::Denied | Kind::Other => {
                Answered::Unread(self.unread(needed))
            }
        }
    }

    /// The error as the reason for a failed read.
    pub(super) fn unread(&self, needed: &Needed<'_>) -> Unread {
        let said = format!("{}: {}", needed.call, self.code);
        if let Some(problem) = self.certificate {
            return Unread::certificate(problem, said);
        }
        match self.kind {
            Kind::Call(class @ ErrorClass::Expired) => class.unread(format!(
                "{said}, also with new credentials: check the session token that the login uses, and the time of this machine"
            )),
            Kind::Call(class) => class.unread(said),
            Kind::Login if self.code.rsplit(' ').next().is_some_and(is_expired) => {
                Unread::store(unread::CREDENTIALS_EXPIRED, said)
            }
            Kind::Login => Unread::store(unread::LOGIN, said),
            Kind::Denied => Unread::secret(unread::DENIED, said).lacking(self.permission(needed)),
            Kind::NotFound | Kind::Invalid | Kind::Other => {
                Unread::secret(unread::UNREADABLE, said)
            }
        }
    }

    fn permission(&self, needed: &Needed<'_>) -> String {
        if self.key {
            return format!(
                "kms:Decrypt on the key of {}",
                needed.key.unwrap_or("the secret")
            );
        }
        let (partition, account) = match &self.caller {
            Some((partition, account)) => (partition.as_str(), account.as_str()),
            None => (partition(needed.region), "*"),
        };
        let on = match needed.key {
            None => "*".to_owned(),
            Some(arn) if arn.starts_with("arn:") => arn.to_owned(),
            Some(key) => {
                let region = needed.region;
                match needed.service {
                    "ssm" => {
                        let name = key.trim_start_matches('/');
                        let name = name.split(':').next().unwrap_or(name);
                        format!("arn:{partition}:ssm:{region}:{account}:parameter/{name}")
                    }
                    service => {
                        format!("arn:{partition}:{service}:{region}:{account}:secret:{key}-*")
                    }
                }
            }
        };
        format!("{}:{} on {on}", needed.service, needed.call)
    }
}

/// The error in AWS's answer, if AWS answered.
pub(super) fn answer(failure: &CallFailure<AwsError>) -> Option<&AwsError> {
    match failure {
        CallFailure::Answer(error) => Some(error),
        CallFailure::Unread(_) | CallFailure::Unknown(_) => None,
    }
}

/// Describes a call, to name the permission that it needs.
pub(super) struct Needed<'a> {
    pub(super) service: &'static str,
    pub(super) call: &'static str,
    pub(super) region: &'a str,
    /// The key that the call reads; None for a list.
    pub(super) key: Option<&'a str>,
}

impl<'a> Needed<'a> {
    /// Describes a request to this service.
    pub(super) const fn of(service: &'static str, region: &'a str, request: &Request<'a>) -> Self {
        Self {
            service,
            call: request.call,
            region,
            key: request.key,
        }
    }

    /// The operator's result for a missing secret. For metadata and versions of parameters the operator reports a general error.
    fn absent(&self, code: &str) -> Answered {
        match self.call {
            "DescribeSecret" | "ListTagsForResource" => Answered::Fails(Failure::NotFoundError),
            _ if code == "ParameterVersionNotFound" => Answered::Fails(Failure::NotFoundError),
            _ => Answered::NotFound,
        }
    }
}

fn kind(code: &str, status: Option<u16>) -> Kind {
    match code {
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "ProvisionedThroughputExceededException"
        | "SlowDown" => Kind::Call(ErrorClass::Throttled(None)),
        code if is_expired(code) => Kind::Call(ErrorClass::Expired),
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "InvalidIdentityToken"
        | "AuthFailure" => Kind::Login,
        "AccessDeniedException" | "AccessDenied" => Kind::Denied,
        "ResourceNotFoundException"
        | "ParameterNotFound"
        | "ParameterVersionNotFound"
        | "InvalidResourceId" => Kind::NotFound,
        "InvalidParameterException" | "InvalidRequestException" | "ValidationException" => {
            Kind::Invalid
        }
        "InternalServiceError"
        | "InternalServerError"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "RequestTimeout"
        | "RequestTimeoutException" => Kind::Call(ErrorClass::Failed(None)),
        _ => match status {
            Some(429) => Kind::Call(ErrorClass::Throttled(None)),
            Some(500..) => Kind::Call(ErrorClass::Failed(None)),
            Some(401 | 403) => Kind::Denied,
            _ => Kind::Other,
        },
    }
}

/// True if the code says that temporary credentials have expired.
pub(super) fn is_expired(code: &str) -> bool {
    matches!(
        code,
        "ExpiredTokenException" | "ExpiredToken" | "TokenRefreshRequired"
    )
}

/// The account in `arn:aws:sts::123456789012:assumed-role/…` in the text of a permission error.
fn caller(text: &str) -> Option<(String, String)> {
    let arn = text
        .split_whitespace()
        .find(|word| word.starts_with("arn:"))?;
    let mut parts = arn.split(':').skip(1);
    let partition = parts.next()?;
    let account = parts.nth(2)?;
    let good = partition.starts_with("aws")
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| (partition.to_owned(), account.to_owned()))
}

/// True if the request was not sent because there was no connection. After any other error, AWS may have received it.
fn is_connect(error: &(dyn Error + 'static)) -> bool {
    in_chain::<hyper_util::client::legacy::Error>(error)
        .is_some_and(hyper_util::client::legacy::Error::is_connect)
}

/// The first error of this type in the chain of causes.
pub(super) fn in_chain<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut present = Some(error);
    while let Some(error) = present {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        present = error.source();
    }
    None
}

/// A role could not be assumed.
#[derive(Debug)]
pub(super) struct AssumeRoleFailed {
    pub(super) role: String,
    pub(super) code: String,
}

impl fmt::Display for AssumeRoleFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.role, self.code)
    }
}

impl Error for AssumeRoleFailed {}

/// Nothing says more about a failed login.
pub(super) const NO_CREDENTIALS: &str = "no credentials were found";
pub(super) const NOT_FETCHED: &str = "the credentials could not be fetched";

/// The reason for a failed login: the role and the error code, or a fixed text. Never contains the provider's own text.
pub(super) fn login_failure(error: &(dyn Error + 'static)) -> String {
    if let Some(refused) = in_chain::<AssumeRoleFailed>(error) {
        return format!("AssumeRole {refused}");
    }
    let code = in_chain::<AssumeRoleWithWebIdentityError>(error)
        .and_then(ProvideErrorMetadata::code)
        .or_else(|| in_chain::<AssumeRoleError>(error).and_then(ProvideErrorMetadata::code));
    if let Some(code) = code {
        return AwsError::said(Some(code), None, None).code;
    }
    match in_chain::<CredentialsError>(error) {
        Some(CredentialsError::CredentialsNotLoaded(_)) => NO_CREDENTIALS,
        Some(CredentialsError::ProviderTimedOut(_)) => "fetching the credentials timed out",
        Some(CredentialsError::InvalidConfiguration(_)) => {
            "the configuration of the credentials is invalid"
        }
        _ => NOT_FETCHED,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Needed<'static> = Needed {
        service: "secretsmanager",
        call: "GetSecretValue",
        region: "eu-west-1",
        key: Some("prod/db"),
    };

    fn denied(text: &str, needed: &Needed<'_>) -> String {
        let error = AwsError::said(Some("AccessDeniedException"), Some(text), Some(400));
        let Answered::Unread(unread) = error.answer(needed) else {
            panic!("expected a denied read");
        };
        assert_eq!(unread.why.reason, unread::DENIED);
        unread.permission.unwrap()
    }

    #[test]
    fn missing_permission_is_named() {
        let text = "User: arn:aws-cn:sts::123456789012:assumed-role/job/x is not authorized to perform: \
                    secretsmanager:GetSecretValue on resource: prod/db because no identity-based policy allows it";
        assert_eq!(
            denied(text, &READ),
            "secretsmanager:GetSecretValue on arn:aws-cn:secretsmanager:eu-west-1:123456789012:secret:prod/db-*"
        );
        assert_eq!(
            denied("", &READ),
            "secretsmanager:GetSecretValue on arn:aws:secretsmanager:eu-west-1:*:secret:prod/db-*"
        );
        assert_eq!(
            denied("Access to KMS is not allowed", &READ),
            "kms:Decrypt on the key of prod/db"
        );
        let arn = Needed {
            key: Some("arn:aws:secretsmanager:eu-west-1:210987654321:secret:db-AbCdEf"),
            ..READ
        };
        assert_eq!(
            denied(text, &arn),
            "secretsmanager:GetSecretValue on arn:aws:secretsmanager:eu-west-1:210987654321:secret:db-AbCdEf"
        );
        let parameter = Needed {
            service: "ssm",
            call: "GetParameter",
            key: Some("/prod/db:3"),
            ..READ
        };
        assert_eq!(
            denied(text, &parameter),
            "ssm:GetParameter on arn:aws-cn:ssm:eu-west-1:123456789012:parameter/prod/db"
        );
        let list = Needed {
            call: "ListSecrets",
            key: None,
            ..READ
        };
        assert_eq!(denied(text, &list), "secretsmanager:ListSecrets on *");
    }

    /// The operator treats one of the two codes as a missing secret, and the other as an error.
    #[test]
    fn secret_scheduled_for_deletion_is_classified_like_the_operator() {
        let text = Some(
            "You can't perform this operation on the secret because it was marked for deletion.",
        );
        let answer = |code| AwsError::said(Some(code), text, Some(400)).answer(&READ);
        assert!(matches!(
            answer("InvalidParameterException"),
            Answered::NotFound
        ));
        assert!(matches!(
            answer("InvalidRequestException"),
            Answered::Fails(Failure::ScheduledForDeletion)
        ));
        let other = AwsError::said(Some("InvalidRequestException"), Some("no"), Some(400));
        assert!(matches!(
            other.answer(&READ),
            Answered::Fails(Failure::Refused)
        ));
    }

    #[test]
    fn missing_metadata_is_an_operator_error() {
        let error = AwsError::said(Some("ResourceNotFoundException"), None, Some(400));
        assert!(matches!(error.answer(&READ), Answered::NotFound));
        let metadata = Needed {
            call: "DescribeSecret",
            ..READ
        };
        assert!(matches!(
            error.answer(&metadata),
            Answered::Fails(Failure::NotFoundError)
        ));
    }

    #[test]
    fn error_texts_are_not_passed_on() {
        let error = AwsError::said(Some("Oops: hunter2 is wrong"), Some("hunter2"), Some(400));
        let Answered::Unread(unread) = error.answer(&READ) else {
            panic!("expected a failed read");
        };
        assert_eq!(
            unread.why.to_string(),
            "unreadable (GetSecretValue: HTTP 400)"
        );
    }

    #[test]
    fn error_codes_and_statuses_are_classified() {
        let kind = |code, status| AwsError::said(Some(code), None, Some(status)).kind;
        assert_eq!(
            kind("ThrottlingException", 400),
            Kind::Call(ErrorClass::Throttled(None))
        );
        assert_eq!(kind("", 429), Kind::Call(ErrorClass::Throttled(None)));
        assert_eq!(kind("", 503), Kind::Call(ErrorClass::Failed(None)));
        assert_eq!(
            kind("ExpiredTokenException", 400),
            Kind::Call(ErrorClass::Expired)
        );
        assert_eq!(kind("UnrecognizedClientException", 400), Kind::Login);
        assert_eq!(kind("", 403), Kind::Denied);
        assert_eq!(kind("Surprise", 400), Kind::Other);
    }
}
