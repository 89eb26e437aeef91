//! The tokens of kubeconfig plugins whose programs are missing: which programs, and who makes their tokens.

use cluster::native::{Call, Source};

/// The commands whose tokens are made, for messages.
pub const KNOWN: &str = "`aws eks get-token`, `aws-iam-authenticator token`, `gke-gcloud-auth-plugin` and `kubelogin get-token`";

type Make = fn(&Call) -> Result<Source, String>;

/// The function, if this build has the feature.
macro_rules! made_with {
    ($feature:literal, $make:path) => {{
        #[cfg(feature = $feature)]
        let make: Option<Make> = Some($make);
        #[cfg(not(feature = $feature))]
        let make: Option<Make> = None;
        (make, $feature)
    }};
}

/// Finds the source of the tokens of a plugin. None if its program is not known.
pub fn find(call: &Call) -> Option<Result<Source, String>> {
    let (make, feature) = match &*call.program {
        "aws" => made_with!("aws", super::aws::plugin::of_cli),
        "aws-iam-authenticator" => made_with!("aws", super::aws::plugin::of_authenticator),
        "gke-gcloud-auth-plugin" => made_with!("gcp", super::gcp::plugin::source),
        "kubelogin" => made_with!("azure", super::azure::plugin::source),
        _ => return None,
    };
    let Some(make) = make else {
        let why = format!("this build does not support it (Cargo feature `{feature}`)");
        return Some(Err(why));
    };
    Some(make(call))
}
