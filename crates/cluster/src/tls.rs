//! The TLS settings of a connection.

use std::{fmt, path::PathBuf, sync::Arc};

use kube::client::ConfigExt as _;
use rustls::{
    ClientConfig, SignatureScheme,
    client::ResolvesClientCert,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    sign::CertifiedKey,
};

use super::failure::ConnectError;

/// How a server proves its identity, and how the client proves its own.
#[derive(Clone, Default)]
pub(super) struct Tls {
    /// The certificate authorities. None for those of the system.
    pub(super) authorities: Option<Vec<Vec<u8>>>,
    /// The file that is read again, because the authorities of a Pod rotate.
    pub(super) authorities_file: Option<PathBuf>,
    pub(super) insecure: bool,
    pub(super) server_name: Option<ServerName<'static>>,
    pub(super) identity: Option<Arc<CertifiedKey>>,
}

impl Tls {
    /// The rustls configuration. `issued` is a client certificate of a plugin.
    pub(super) fn config(
        &self,
        issued: Option<&Arc<CertifiedKey>>,
    ) -> Result<ClientConfig, ConnectError> {
        let mut settings = kube::Config::new(http::Uri::default());
        settings.root_cert.clone_from(&self.authorities);
        settings.root_cert_file.clone_from(&self.authorities_file);
        settings.accept_invalid_certs = self.insecure;
        let mut config = settings.rustls_client_config().map_err(|_| {
            ConnectError::Client("the certificate authorities cannot be used".to_owned())
        })?;
        if let Some(identity) = self.identity.as_ref().or(issued) {
            config.client_auth_cert_resolver = Arc::new(Identity(Arc::clone(identity)));
        }
        Ok(config)
    }
}

struct Identity(Arc<CertifiedKey>);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl ResolvesClientCert for Identity {
    /// The certificate is sent even if the server does not name its issuer, as Go does for a certificate that was configured.
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The certificates of a PEM text. Skips what is no certificate, as Go does.
pub(super) fn authorities(pem: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut store = rustls::RootCertStore::empty();
    let found: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(pem)
        .map_while(Result::ok)
        .filter(|certificate| store.add(certificate.clone()).is_ok())
        .map(|certificate| certificate.to_vec())
        .collect();
    (!found.is_empty()).then_some(found)
}

/// The client certificate and key of PEM texts.
pub(super) fn identity(certificate: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or("there is no PEM certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "there is no PEM private key")?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
        .map(Arc::new)
        .map_err(|error| {
            let why = if matches!(error, rustls::Error::InconsistentKeys(_)) {
                "the private key does not belong to the certificate"
            } else {
                "the certificate or the private key is invalid"
            };
            why.to_owned()
        })
}
