//! The stable reason words for a failed read of a provider.

/// The provider denies the read.
pub const DENIED: &str = "denied";
/// No credentials, or the provider rejects them.
pub const LOGIN: &str = "login-failed";
/// The credentials have expired, or were revoked.
pub const CREDENTIALS_EXPIRED: &str = "credentials-expired";
/// The server's certificate is signed by an unknown authority.
pub const UNKNOWN_AUTHORITY: &str = "unknown-authority";
/// The server's certificate is expired, or for another host name.
pub const CERTIFICATE_INVALID: &str = "certificate-invalid";
/// The Vault is sealed.
pub const SEALED: &str = "sealed";
/// The provider still throttles after retries.
pub const THROTTLED: &str = "throttled";
/// The provider cannot be reached, or fails.
pub const UNAVAILABLE: &str = "unavailable";
/// The provider's answer is invalid.
pub const UNREADABLE: &str = "unreadable";
/// The store needs something that is not supported: a provider, an auth method, a setting.
pub const UNSUPPORTED: &str = "unsupported-store";
/// The job's own credentials may not be sent to this store's address, or may not be used for this store.
pub const NOT_TRUSTED: &str = "store-not-trusted";
/// The conditions of the ClusterSecretStore exclude the namespace: the operator refuses it too.
pub const NAMESPACE: &str = "namespace-not-allowed";
/// The operator reads this store with the identity of its own Pod, which the job does not have.
pub const CONTROLLER_IDENTITY: &str = "controller-identity";
/// The value is larger than 1 MiB, and more than some of its properties is needed.
pub const VALUE_TOO_LARGE: &str = "value-too-large";
/// The values that the ExternalSecrets of one target Secret need together are too large.
pub const TOO_MUCH_DATA: &str = "too-much-data";
/// Half of the run's deadline passed before the value was read.
pub const NOT_READ_IN_TIME: &str = "not-read-in-time";
/// The store, or the object that holds its credentials, is missing or cannot be read.
pub const STORE: &str = "store-unreadable";
