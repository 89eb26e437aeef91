//! The texts are those of operator v0.20.4 and v2.9.0, of the clients that they use, and of the API server.

use super::*;

fn quoted(text: &str) -> (ErrorClass, String) {
    let quoted = quote(text);
    (quoted.class, quoted.text)
}

#[test]
fn the_safe_pattern_compiles() {
    assert!(SAFE_PATTERN.is_some());
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
            ErrorClass::NamespaceNotAllowed,
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

/// One text for each cause, as it stands in an Event or a condition.
const REAL: &[(&str, ErrorClass)] = &[
    // AWS Secrets Manager and Parameter Store.
    (
        "error processing spec.data[0] (key: prod/db), err: operation error Secrets Manager: GetSecretValue, https response error StatusCode: 400, RequestID: 83805f40, api error ExpiredTokenException: The security token included in the request is expired",
        ErrorClass::CredentialsExpired,
    ),
    (
        "unable to create session: operation error STS: AssumeRole, https response error StatusCode: 403, RequestID: 83805f40, api error ExpiredToken: The security token included in the request is expired",
        ErrorClass::CredentialsExpired,
    ),
    (
        "error processing spec.data[0] (key: sealed-version), err: operation error Secrets Manager: GetSecretValue, https response error StatusCode: 400, RequestID: 1, UnrecognizedClientException: The security token included in the request is invalid.",
        ErrorClass::LoginFailed,
    ),
    (
        "error processing spec.dataFrom[0].extract, err: operation error SSM: GetParameter, get identity: get credentials: failed to refresh cached credentials, operation error STS: AssumeRoleWithWebIdentity, https response error StatusCode: 403, RequestID: 1, api error AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity",
        ErrorClass::LoginFailed,
    ),
    (
        "error processing spec.data[0] (key: db), err: operation error Secrets Manager: GetSecretValue, get identity: get credentials: failed to refresh cached credentials, operation error STS: AssumeRoleWithWebIdentity, https response error StatusCode: 400, RequestID: 1, InvalidIdentityToken: No OpenIDConnect provider found in your account for https://oidc.eks.eu-west-1.amazonaws.com/id/1",
        ErrorClass::LoginFailed,
    ),
    (
        "error processing spec.data[0] (key: db), err: operation error Secrets Manager: GetSecretValue, https response error StatusCode: 400, RequestID: 1, api error AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/eso/1 is not authorized to perform: secretsmanager:GetSecretValue on resource: db because no identity-based policy allows the secretsmanager:GetSecretValue action",
        ErrorClass::Denied,
    ),
    (
        "error processing spec.data[0] (key: db), err: operation error Secrets Manager: GetSecretValue, https response error StatusCode: 400, RequestID: 1, InvalidRequestException: You can't perform this operation on the secret because it was marked for deletion.",
        ErrorClass::VersionUnavailable,
    ),
    (
        "error processing spec.data[0] (key: db), err: operation error Secrets Manager: GetSecretValue, https response error StatusCode: 400, RequestID: 1, ResourceNotFoundException: Secrets Manager can't find the specified secret value for VersionId: 1",
        ErrorClass::NotFound,
    ),
    (
        "error processing spec.data[0] (key: db), err: operation error SSM: GetParameter, https response error StatusCode: 400, RequestID: 1, api error ThrottlingException: Rate exceeded",
        ErrorClass::Throttled,
    ),
    // Azure Key Vault, with both clients.
    (
        "error processing spec.data[0] (key: db), err: azure.BearerAuthorizer#WithAuthorization: Failed to refresh the Token for request to https://v.vault.azure.net/secrets/db/?api-version=7.0: StatusCode=401 -- Original Error: adal: Refresh request failed. Status Code = '401'. Response body: {\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000222: The provided client secret keys for app '1' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret\"}",
        ErrorClass::CredentialsExpired,
    ),
    (
        "error processing spec.data[0] (key: db), err: AADSTS7000222: The provided client secret keys for app '1' are expired.",
        ErrorClass::CredentialsExpired,
    ),
    (
        "error processing spec.data[0] (key: db), err: AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID",
        ErrorClass::LoginFailed,
    ),
    (
        "error processing spec.data[0] (key: db), err: AADSTS700213: No matching federated identity record found for presented assertion subject",
        ErrorClass::LoginFailed,
    ),
    (
        "error processing spec.data[0] (key: db), err: keyvault.BaseClient#GetSecret: Failure responding to request: StatusCode=403 -- Original Error: autorest/azure: Service returned an error. Status=403 Code=\"Forbidden\" Message=\"Operation get is not allowed on a disabled secret.\" InnerError={\"code\":\"SecretDisabled\"}",
        ErrorClass::VersionUnavailable,
    ),
    (
        "error processing spec.data[0] (key: db), err: keyvault.BaseClient#GetSecret: Failure responding to request: StatusCode=403 -- Original Error: autorest/azure: Service returned an error. Status=403 Code=\"Forbidden\" Message=\"Caller is not authorized to perform action on resource.\" InnerError={\"code\":\"ForbiddenByRbac\"}",
        ErrorClass::Denied,
    ),
    (
        "error processing spec.data[0] (key: db), err: GET https://v.vault.azure.net/secrets/db/\n---\nRESPONSE 403: 403 Forbidden\nERROR CODE: Forbidden\n---\n{\"error\":{\"code\":\"Forbidden\",\"message\":\"Operation get is not allowed on a disabled secret.\",\"innererror\":{\"code\":\"SecretDisabled\"}}}",
        ErrorClass::VersionUnavailable,
    ),
    (
        "error processing spec.data[0] (key: db), err: GET https://v.vault.azure.net/secrets/db/\n---\nRESPONSE 429: 429 Too Many Requests\nERROR CODE: Throttled\n---",
        ErrorClass::Throttled,
    ),
    // Google Secret Manager.
    (
        "error processing spec.data[0] (key: salt), err: unable to access Secret from SecretManager Client: rpc error: code = FailedPrecondition desc = Secret Version [projects/1/secrets/salt/versions/3] is in DISABLED state.",
        ErrorClass::VersionUnavailable,
    ),
    (
        "error processing spec.data[0] (key: salt), err: unable to access Secret from SecretManager Client: rpc error: code = FailedPrecondition desc = Secret Version [projects/1/secrets/salt/versions/3] is in DESTROYED state.",
        ErrorClass::VersionUnavailable,
    ),
    (
        "error processing spec.data[0] (key: salt), err: unable to access Secret from SecretManager Client: rpc error: code = PermissionDenied desc = Permission 'secretmanager.versions.access' denied for resource 'projects/p/secrets/salt/versions/latest' (or it may not exist).",
        ErrorClass::Denied,
    ),
    (
        "error processing spec.data[0] (key: salt), err: unable to access Secret from SecretManager Client: rpc error: code = Unauthenticated desc = transport: per-RPC creds failed due to error: oauth2: \"invalid_grant\" \"Invalid JWT Signature.\"",
        ErrorClass::LoginFailed,
    ),
    (
        "error processing spec.data[0] (key: salt), err: unable to access Secret from SecretManager Client: rpc error: code = Unauthenticated desc = transport: per-RPC creds failed due to error: oauth2: \"invalid_grant\" \"Token has been expired or revoked.\"",
        ErrorClass::CredentialsExpired,
    ),
    (
        "error processing spec.data[0] (key: salt), err: unable to access Secret from SecretManager Client: rpc error: code = ResourceExhausted desc = Quota exceeded for quota metric 'Access requests'",
        ErrorClass::Throttled,
    ),
    (
        "error processing spec.data[0] (key: salt), err: unable to access Secret from SecretManager Client: rpc error: code = NotFound desc = Secret [projects/1/secrets/salt] not found or has no versions.",
        ErrorClass::NotFound,
    ),
    // Vault and OpenBao.
    (
        "error processing spec.data[0] (key: db), err: cannot read secret data from Vault: Error making API request.\n\nURL: GET https://vault:8200/v1/secret/data/db\nCode: 503. Errors:\n\n* Vault is sealed",
        ErrorClass::Sealed,
    ),
    (
        "error processing spec.data[0] (key: db), err: unable to log in to auth method: unable to log in with Kubernetes auth: Error making API request.\n\nURL: PUT https://vault:8200/v1/auth/kubernetes/login\nCode: 503. Errors:\n\n* Vault is sealed",
        ErrorClass::Sealed,
    ),
    (
        "error processing spec.data[0] (key: db), err: cannot read secret data from Vault: Error making API request.\n\nURL: GET https://vault:8200/v1/secret/data/db\nCode: 403. Errors:\n\n* 1 error occurred:\n\t* permission denied\n\n",
        ErrorClass::Denied,
    ),
    (
        "error processing spec.data[0] (key: db), err: cannot read secret data from Vault: Error making API request.\n\nURL: GET https://vault:8200/v1/secret/data/db\nCode: 403. Errors:\n\n* 2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n",
        ErrorClass::CredentialsExpired,
    ),
    (
        "error processing spec.data[0] (key: db), err: unable to log in with app role auth: Error making API request.\n\nURL: PUT https://vault:8200/v1/auth/approle/login\nCode: 400. Errors:\n\n* invalid role or secret ID",
        ErrorClass::LoginFailed,
    ),
    (
        "unable to log in to auth method: unable to log in with Kubernetes auth: Put \"https://sealed.example/v1/auth/denied/login\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
        ErrorClass::UnknownAuthority,
    ),
    (
        "unable to log in to auth method: unable to log in with Kubernetes auth: Put \"https://vault/v1/auth/kubernetes/login\": tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-01-01T00:00:00Z is after 2025-01-01T00:00:00Z",
        ErrorClass::CertificateInvalid,
    ),
    (
        "unable to log in to auth method: unable to log in with Kubernetes auth: Put \"https://vault/v1/auth/kubernetes/login\": tls: failed to verify certificate: x509: certificate is valid for vault.internal, not vault",
        ErrorClass::CertificateInvalid,
    ),
    (
        "unable to log in to auth method: unable to log in with Kubernetes auth: Put \"https://vault/v1/auth/kubernetes/login\": dial tcp 10.0.0.1:8200: connect: connection refused",
        ErrorClass::Unavailable,
    ),
    (
        "error processing spec.data[0] (key: db), err: cannot find secret data for key: \"sealed\"",
        ErrorClass::NotFound,
    ),
    // Kubernetes.
    (
        "error processing spec.data[0] (key: db), err: secrets \"db\" is forbidden: User \"system:serviceaccount:a:reader\" cannot get resource \"secrets\" in API group \"\" in the namespace \"a\"",
        ErrorClass::Denied,
    ),
    (
        "error processing spec.data[0] (key: db), err: Unauthorized",
        ErrorClass::LoginFailed,
    ),
    (
        "secrets \"db\" is forbidden: User \"system:serviceaccount:eso:eso\" cannot create resource \"secrets\" in API group \"\" in the namespace \"a\"",
        ErrorClass::OperatorDenied,
    ),
    (
        "secrets \"db\" is forbidden: exceeded quota: core-object-counts, requested: secrets=1, used: secrets=200, limited: secrets=200",
        ErrorClass::QuotaExceeded,
    ),
    (
        "unable to update secret db: admission webhook \"validate.kyverno.svc-fail\" denied the request: \n\nresource Secret/a/db was blocked",
        ErrorClass::InvalidSecret,
    ),
    // The operator and the target Secret.
    (
        "unable to mutate secret backend-redis: could not set controller reference on secret: Object redis/backend-redis is already owned by another SealedSecret controller backend-redis",
        ErrorClass::OwnedByOther,
    ),
    (
        "could not set ExternalSecret controller reference: Object namespace/service is already owned by another ExternalSecret controller service",
        ErrorClass::OwnedByOther,
    ),
    (
        "unable to mutate secret credentials: secret is owned by another ExternalSecret: credentials-init",
        ErrorClass::OwnedByOther,
    ),
    (
        "failed to take ownership of target secret",
        ErrorClass::OwnedByOther,
    ),
    (
        "target is owned by another ExternalSecret",
        ErrorClass::OwnedByOther,
    ),
    (
        "could not update secret, target is immutable",
        ErrorClass::Immutable,
    ),
    (
        "unable to update secret db: secret is immutable",
        ErrorClass::Immutable,
    ),
    (
        "unable to update secret pull: Secret \"pull\" is invalid: type: Invalid value: \"kubernetes.io/dockerconfigjson\": field is immutable",
        ErrorClass::InvalidSecret,
    ),
    (
        "Secret \"docker-registry-secret\" is invalid: data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": invalid character '%' looking for beginning of value",
        ErrorClass::InvalidSecret,
    ),
    (
        "Secret \"pull\" is invalid: data[.dockerconfigjson]: Required value",
        ErrorClass::InvalidSecret,
    ),
    (
        "error processing spec.dataFrom[0].extract, err: invalid secret keys (TIP: use rewrite or conversionStrategy to change keys): key has invalid character ':', only alphanumeric, '-', '.' and '_' are allowed: a:b",
        ErrorClass::InvalidSecret,
    ),
    (
        "could not apply template: template.type=\"bootstrap.kubernetes.io/token\" is not allowed",
        ErrorClass::InvalidSecret,
    ),
    (
        "could not apply template: could not execute template: could not execute template: unable to execute template at key .dockerconfigjson: template: .dockerconfigjson:1:23: executing \".dockerconfigjson\" at <b64enc>: invalid value; expected string",
        ErrorClass::Template,
    ),
    // The store.
    (
        "error processing spec.data[0] (key: db), err: ClusterSecretStore \"sealed\" is not ready",
        ErrorClass::StoreNotReady,
    ),
    (
        "error processing spec.data[0] (key: db), err: could not get SecretStore \"gone\", SecretStore.external-secrets.io \"gone\" not found",
        ErrorClass::StoreMissing,
    ),
    (
        "error processing spec.data[0] (key: db), err: using cluster store \"x\" is not allowed from namespace \"y\": denied by spec.condition",
        ErrorClass::NamespaceNotAllowed,
    ),
    ("could not get secret data from provider", ErrorClass::Other),
    ("could not update secret", ErrorClass::Other),
];

#[test]
fn real_texts_get_the_class_of_their_cause() {
    for (text, class) in REAL {
        assert_eq!(classify(text), *class, "{text}");
    }
    let tested: std::collections::HashSet<ErrorClass> =
        REAL.iter().map(|(_, class)| *class).collect();
    for class in <ErrorClass as strum::VariantArray>::VARIANTS {
        assert!(tested.contains(class), "{class:?}");
    }
}

#[test]
fn words_inside_other_words_and_names_decide_nothing() {
    for word in [
        "sealed",
        "SealedSecret",
        "denied",
        "throttling",
        "template",
        "timeout",
        "forbidden",
        "429",
        "AccessDenied",
        "SecretDisabled",
    ] {
        for text in [
            format!("error processing spec.data[0] (key: {word}), err: Secret does not exist"),
            format!("could not get secret \"{word}\": Secret does not exist"),
            format!("Get \"https://{word}.example/v1/{word}\": Secret does not exist"),
        ] {
            assert_eq!(classify(&text), ErrorClass::NotFound, "{text}");
        }
    }
    for text in [
        "SealedSecrets",
        "unsealed",
        "the templates",
        "undenied",
        "subtotal 4031",
    ] {
        assert_eq!(classify(text), ErrorClass::Other, "{text}");
    }
}

/// The texts of a template's error can contain parts of values.
#[test]
fn parts_of_values_do_not_decide_the_class() {
    for value in [
        "AccessDenied",
        "Vault is sealed",
        "exceeded quota: x",
        "ExpiredToken",
        "x509: ",
    ] {
        let text = format!(
            "could not apply template: could not execute template: unable to execute template at key a: {value}"
        );
        assert_eq!(classify(&text), ErrorClass::Template, "{text}");
    }
}

#[test]
fn codes_and_states_are_quoted() {
    for (text, kept) in [
        (
            "err: AADSTS7000222: The provided client secret keys for app 'hunter2' are expired",
            "AADSTS7000222",
        ),
        (
            "rpc error: code = FailedPrecondition desc = Secret Version [projects/hunter2] is in DESTROYED state.",
            "is in DESTROYED state",
        ),
        (
            "rpc error: code = FailedPrecondition desc = hunter2",
            "rpc error: code = FailedPrecondition",
        ),
        (
            "Status=403 Code=\"Forbidden\" Message=\"hunter2\" InnerError={\"code\":\"SecretDisabled\"}",
            "code\":\"SecretDisabled\"",
        ),
        (
            "URL: GET https://hunter2\nCode: 503. Errors:\n\n* Vault is sealed",
            "Vault is sealed",
        ),
        (
            "secrets \"hunter2\" is forbidden: exceeded quota: team, requested: secrets=1",
            "exceeded quota: team",
        ),
        (
            "Secret \"pull\" is invalid: type: Invalid value: \"kubernetes.io/tls\": field is immutable hunter2",
            "type: Invalid value: \"kubernetes.io/tls\": field is immutable",
        ),
        (
            "could not set controller reference on secret: Object a/b is already owned by another SealedSecret controller b hunter2",
            "Object a/b is already owned by another SealedSecret controller b",
        ),
        (
            "secret is owned by another ExternalSecret: credentials-init, hunter2",
            "secret is owned by another ExternalSecret: credentials-init",
        ),
    ] {
        let shown = quoted(text).1;
        assert!(shown.contains(kept), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
