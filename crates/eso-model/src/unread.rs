//! The stable reason words for a failed read of a provider.

crate::words::words! {
    /// The provider denies the read.
    DENIED = "denied";
    /// No credentials, or the provider rejects them.
    LOGIN = "login-failed";
    /// The credentials have expired, or were revoked.
    CREDENTIALS_EXPIRED = "credentials-expired";
    /// The server's certificate is signed by an unknown authority.
    UNKNOWN_AUTHORITY = "unknown-authority";
    /// The server's certificate is expired, or for another host name.
    CERTIFICATE_INVALID = "certificate-invalid";
    /// The Vault is sealed.
    SEALED = "sealed";
    /// The provider still throttles after retries.
    THROTTLED = "throttled";
    /// The provider cannot be reached, or fails.
    UNAVAILABLE = "unavailable";
    /// The provider's answer is invalid.
    UNREADABLE = "unreadable", "look at the log with `-v`: the address may belong to another service, or a proxy changes answers";
    /// The store needs something that is not supported: a provider, an auth method, a setting.
    UNSUPPORTED = "unsupported-store", "use `drift.onUnverifiable` to decide what happens to its ExternalSecrets";
    /// The job's own credentials may not be sent to this store's address, or may not be used for this store.
    NOT_TRUSTED = "store-not-trusted", "if you trust everyone who can edit the store, set `drift.stores`, `drift.namespacedStores` or `drift.endpoints` as the message says; without a policy, use `--namespaced-stores` and `--endpoint`";
    /// The conditions of the ClusterSecretStore exclude the namespace: the operator refuses it too.
    NAMESPACE = "namespace-not-allowed", "add the namespace to `spec.conditions` of the ClusterSecretStore, or use another store";
    /// The operator reads this store with the identity of its own Pod, which the job does not have.
    CONTROLLER_IDENTITY = "controller-identity", "set the store to `ambient` under `drift.stores`, and give the job's identity the right to read";
    /// The value is larger than 1 MiB, and more than some of its properties is needed.
    VALUE_TOO_LARGE = "value-too-large";
    /// The values that the ExternalSecrets of one target Secret need together are too large.
    TOO_MUCH_DATA = "too-much-data", "split the ExternalSecret";
    /// Half of the run's deadline passed before the value was read.
    NOT_READ_IN_TIME = "not-read-in-time", "raise `deadline` or `pace.providers`, or run it for fewer namespaces at once";
    /// The store, or the object that holds its credentials, is missing or cannot be read.
    STORE = "store-unreadable", "see whether the store and the Secret or ServiceAccount that it names exist, and what `eso-sync rbac` prints";
}
