//! Why a connection failed, in own words. The texts of libraries may contain addresses with credentials, or parts of answers, so
//! only what is listed here is said.

use std::{error::Error, io};

use rustls::{CertificateError, Error as Tls};

use crate::failure::{ConnectError, PluginError};

/// Said of an error that is not listed.
const UNKNOWN: &str = "the connection failed";

/// An error of this crate. Its text contains no credentials.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Own(pub(super) String);

/// The fixed texts of libraries, and the words for them.
const TEXTS: [(&str, &str); 14] = [
    (
        "failed to lookup address information",
        "the host name cannot be resolved",
    ),
    ("dns error", "the host name cannot be resolved"),
    (
        "tunnel error: proxy authorization required",
        "the proxy requires other credentials (407)",
    ),
    (
        "tunnel error: unsuccessful",
        "the proxy refused to connect to the server",
    ),
    (
        "tunnel error: unexpected end of file",
        "the proxy closed the connection",
    ),
    ("tunnel error: ", "the connection to the proxy failed"),
    (
        "SOCKS error: failed to create underlying connection",
        "the SOCKS proxy cannot be reached",
    ),
    (
        "SOCKS error: credentials not accepted",
        "the SOCKS proxy did not accept the credentials",
    ),
    (
        "SOCKS error: ",
        "the SOCKS proxy refused to connect to the server",
    ),
    ("connection closed before message completed", CLOSED),
    ("end of file before message length reached", CLOSED),
    ("error reading a body from connection", CLOSED),
    ("operation timed out", TIMED_OUT),
    ("deadline has elapsed", TIMED_OUT),
];

const CLOSED: &str = "the server closed the connection";
const TIMED_OUT: &str = "there was no answer in time";

/// A problem with the certificate of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// It is signed by an unknown authority.
    UnknownAuthority,
    /// It is expired, for another host name, or invalid for another reason.
    Invalid,
}

/// The reason for a failed connection or request, by its innermost known error.
pub fn of(error: &(dyn Error + 'static)) -> String {
    let known = chain(error).filter_map(words).last();
    known.unwrap_or_else(|| UNKNOWN.to_owned())
}

/// The problem with the server's certificate, if that is the reason for a failed connection.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only errors of certificates count"
)]
pub fn certificate(error: &(dyn Error + 'static)) -> Option<Certificate> {
    chain(error).find_map(|error| match error.downcast_ref::<Tls>()? {
        Tls::InvalidCertificate(CertificateError::UnknownIssuer) => {
            Some(Certificate::UnknownAuthority)
        }
        Tls::InvalidCertificate(_) => Some(Certificate::Invalid),
        _ => None,
    })
}

/// An error and its causes.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error: &'a (dyn Error + 'static) = *error;
        // The source of an I/O error is the source of the error that it wraps, which would skip that error.
        match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

fn words(error: &(dyn Error + 'static)) -> Option<String> {
    let is_own = error.is::<Own>() || error.is::<PluginError>() || error.is::<ConnectError>();
    if is_own {
        return Some(error.to_string());
    }
    if let Some(tls) = error.downcast_ref::<Tls>() {
        return Some(of_tls(tls));
    }
    if let Some(io) = error.downcast_ref::<io::Error>()
        && let Some(words) = of_io(io.kind())
    {
        return Some(words.to_owned());
    }
    if let Some(http) = error.downcast_ref::<hyper::Error>()
        && http.is_parse()
    {
        return Some("the answer is not HTTP".to_owned());
    }
    let text = error.to_string();
    let known = TEXTS.iter().find(|(known, _)| text.starts_with(known));
    known.map(|(_, words)| (*words).to_owned())
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only what is listed is said"
)]
const fn of_io(kind: io::ErrorKind) -> Option<&'static str> {
    Some(match kind {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "connection reset",
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => CLOSED,
        io::ErrorKind::HostUnreachable => "the host is unreachable",
        io::ErrorKind::NetworkUnreachable => "the network is unreachable",
        io::ErrorKind::NetworkDown => "the network is down",
        io::ErrorKind::TimedOut => TIMED_OUT,
        io::ErrorKind::PermissionDenied => "permission denied",
        _ => return None,
    })
}

/// The reason for a failed TLS handshake.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only what is listed is said"
)]
pub fn of_tls(error: &Tls) -> String {
    let text = match error {
        Tls::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => {
                "the server's certificate is signed by an unknown authority"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the server's certificate is for another host name"
            }
            CertificateError::Revoked => "the server's certificate is revoked",
            _ => "the server's certificate is invalid",
        },
        Tls::AlertReceived(_) => {
            "the server refused the TLS connection; it may require a client certificate"
        }
        Tls::InvalidMessage(_) => "the server does not speak TLS",
        _ => "the TLS handshake failed",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("client error (Connect) to https://user:hunter2@host")]
    struct Library(#[source] io::Error);

    #[test]
    fn only_listed_texts_of_libraries_are_quoted() {
        let refused = Library(io::ErrorKind::ConnectionRefused.into());
        assert_eq!(of(&refused), "connection refused");
        let unknown = Library(io::Error::other("hunter2"));
        assert_eq!(of(&unknown), UNKNOWN);
        let name = io::Error::other("failed to lookup address information: hunter2.corp");
        assert_eq!(of(&Library(name)), "the host name cannot be resolved");
    }

    #[test]
    fn tls_error_inside_an_io_error_is_found() {
        let tls = Tls::InvalidCertificate(CertificateError::UnknownIssuer);
        let error = Library(io::Error::new(io::ErrorKind::InvalidData, tls));
        assert_eq!(
            of(&error),
            "the server's certificate is signed by an unknown authority"
        );
        assert_eq!(certificate(&error), Some(Certificate::UnknownAuthority));
        let expired = Library(io::Error::other(Tls::InvalidCertificate(
            CertificateError::Expired,
        )));
        assert_eq!(certificate(&expired), Some(Certificate::Invalid));
        let refused = Library(io::ErrorKind::ConnectionRefused.into());
        assert_eq!(certificate(&refused), None);
    }
}
