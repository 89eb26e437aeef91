//! The type of a target Secret.

/// What decides if the API server accepts the Secret of an ExternalSecret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretType {
    /// `spec.target.template.type`. Empty: an existing Secret keeps its type, and a new one is `Opaque`.
    pub name: String,
    /// True if the template sets no annotation that names a service account.
    pub(super) lacks_service_account: bool,
    /// The keys among `.dockercfg` and `.dockerconfigjson` whose value is not a JSON object.
    pub(super) not_json: Vec<&'static str>,
}
