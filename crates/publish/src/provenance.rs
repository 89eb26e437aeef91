//! The origin of a value, as it is recorded at the provider.

/// The longest text that all providers accept in a tag.
const MAX: usize = 256;

/// Returns `repository@revision:file` in the characters that all providers accept in a tag; others become `_`. Credentials in the
/// address of the repository are left out. Too long a text loses its start.
pub fn provenance(repository: &str, revision: Option<&str>, file: &str) -> String {
    let repository = without_credentials(repository);
    let revision = revision.map_or_else(String::new, |revision| format!("@{revision}"));
    let text: String = format!("{repository}{revision}:{file}")
        .chars()
        .map(|c| {
            let good = c.is_ascii_alphanumeric() || "_.:/=+-@".contains(c);
            if good { c } else { '_' }
        })
        .collect();
    // All characters have one byte now.
    let start = text.len().saturating_sub(MAX);
    text.get(start..).unwrap_or_default().to_owned()
}

/// The address without user name, password, query and fragment.
fn without_credentials(repository: &str) -> String {
    let address = repository.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = match address.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), address),
    };
    let (host, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}{host}{path}")
}

/// The revision in a provenance.
pub fn revision(provenance: &str) -> Option<&str> {
    let (_, rest) = provenance.rsplit_once('@')?;
    // `main@sha1:0123…:path`: the revision of Flux contains a colon.
    let end = match rest.split_once(':') {
        Some((kind @ ("sha1" | "sha256"), digest)) => {
            kind.len() + 1 + digest.find(':').unwrap_or(digest.len())
        }
        Some((plain, _)) => plain.len(),
        None => return None,
    };
    rest.get(..end).filter(|revision| !revision.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn provenance_names_repository_revision_and_file() {
        let text = provenance(
            "https://github.com/acme/config",
            Some("0a1b2c"),
            "services/dev/a.env",
        );
        assert_eq!(
            text,
            "https://github.com/acme/config@0a1b2c:services/dev/a.env"
        );
        assert_eq!(revision(&text), Some("0a1b2c"));
    }

    #[test]
    fn credentials_in_the_address_are_left_out() {
        for address in [
            "https://user:hunter2@host.example/r",
            "https://hunter2@host.example/r",
            "https://a:b@hunter2@host.example/r",
            "https://host.example/r?token=hunter2",
            "https://host.example/r#hunter2",
        ] {
            let text = provenance(address, None, "f");
            assert_eq!(text, "https://host.example/r:f", "{address}");
        }
        assert_eq!(
            provenance("git@host.example:r", None, "f"),
            "host.example:r:f"
        );
    }

    #[test]
    fn revision_of_flux_is_found() {
        let text = provenance("flux-system/repo", Some("main@sha1:0a1b"), "f");
        assert_eq!(revision(&text), Some("sha1:0a1b"));
        assert_eq!(revision("something else"), None);
    }

    proptest! {
        #[test]
        fn all_providers_accept_the_text(repository in ".{0,300}", revision in proptest::option::of(".{0,80}"), file in ".{0,300}") {
            let text = provenance(&repository, revision.as_deref(), &file);
            prop_assert!(text.len() <= MAX);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:/=+-@".contains(&byte)));
        }
    }
}
