//! Whom to trust and what to show, read once when an output opens.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{Resumption, WantsClientCert};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::{TlsOptions, TrustOptions};
use crate::pem::{self, certificates, refused};

/// Sessions that are kept for resumption, in all. rustls keeps 256 unless told otherwise.
const SESSIONS: usize = 8;

/// How to speak TLS. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) vhost: Option<ServerName<'static>>,
}

/// The option that TLS cannot be set up with, and why.
#[derive(Debug)]
pub struct TlsRefused {
    /// The option.
    pub option: &'static str,
    /// What is wrong.
    pub what: String,
}

impl Tls {
    /// Reads the certificates to trust.
    ///
    /// # Errors
    /// [`TlsRefused`]: the option to put right.
    pub fn trusting(options: &TrustOptions) -> Result<Tls, TlsRefused> {
        Ok(finish(builder(options)?.with_no_client_auth(), None))
    }

    /// Reads the certificates to trust and those to show.
    ///
    /// # Errors
    /// [`TlsRefused`]: the option to put right.
    pub fn new(options: &TlsOptions) -> Result<Tls, TlsRefused> {
        let builder = builder(&options.trust)?;
        let config = match (&options.crt_file, &options.key_file) {
            (Some(crt_file), Some(key_file)) => {
                let shown = certificates("tls.crt_file", crt_file)?;
                let key = PrivateKeyDer::from_pem_slice(&pem::read("tls.key_file", key_file)?)
                    .map_err(|error| refused("tls.key_file", format!("{key_file} has no key: {error}")))?;
                builder.with_client_auth_cert(shown, key).map_err(|error| {
                    refused("tls.key_file", format!("{key_file} does not fit {crt_file}: {error}"))
                })?
            }
            _ => builder.with_no_client_auth(),
        };
        let vhost = options.vhost.as_ref().map(|name| {
            ServerName::try_from(name.clone())
                .map_err(|_| refused("tls.vhost", format!("\"{name}\" is not a host name")))
        });
        Ok(finish(config, vhost.transpose()?))
    }
}

fn finish(mut config: ClientConfig, vhost: Option<ServerName<'static>>) -> Tls {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Tls { config: Arc::new(config), vhost }
}

fn builder(options: &TrustOptions) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsRefused> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused("tls", error.to_string()))?;
    Ok(match (&options.verify, &options.ca_file) {
        (false, _) => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider))),
        (true, None) => builder.with_root_certificates(system_roots()?),
        (true, Some(file)) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("tls.ca_file", file)? {
                roots.add(certificate).map_err(|error| refused("tls.ca_file", format!("{file}: {error}")))?;
            }
            builder.with_root_certificates(roots)
        }
    })
}

/// The certificates that the system trusts, read once for all clients.
fn system_roots() -> Result<Arc<RootCertStore>, TlsRefused> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems carry certificates that no library of today takes; those cannot be trusted, that is all.
    let (taken, _left_out) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        let what = format!("the system has no certificates to trust{why}; name a file with some");
        return Err(refused("tls.ca_file", what));
    }
    Ok(Arc::clone(ROOTS.get_or_init(|| Arc::new(roots))))
}

/// `tls.verify off`: any certificate will do, as long as the server holds its key.
struct Unverified(Arc<CryptoProvider>);

impl fmt::Debug for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unverified")
    }
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
