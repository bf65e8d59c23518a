//! Whom to trust and what to show, read once when an output opens.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{Resumption, WantsClientCert, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};

use super::{TlsOptions, TrustOptions};
use crate::pem::{self, certificates, refused};
use crate::server::tls::{suites, versions};

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
                let key = pem::private_key("tls.key_file", key_file)?;
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

    /// The same for protocols other than HTTP: none is named in the handshake.
    #[must_use]
    pub fn without_http(mut self) -> Tls {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols.clear();
        self.config = Arc::new(config);
        self
    }
}

fn finish(mut config: ClientConfig, vhost: Option<ServerName<'static>>) -> Tls {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Tls { config: Arc::new(config), vhost }
}

fn builder(options: &TrustOptions) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsRefused> {
    let provider =
        CryptoProvider { cipher_suites: suites(options.ciphers.as_deref())?, ..ring::default_provider() };
    let provider = Arc::new(provider);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(&options.min_version, &options.max_version)?)
        .map_err(|error| refused("tls.ciphers", format!("no suite fits the versions: {error}")))?;
    if !options.verify {
        return Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider))));
    }
    let roots = authorities(options)?;
    if options.verify_hostname {
        return Ok(builder.with_root_certificates(roots));
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| refused("tls.ca_file", error.to_string()))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(verifier))))
}

/// Those of the files that are named, or the system's.
fn authorities(options: &TrustOptions) -> Result<Arc<RootCertStore>, TlsRefused> {
    if options.ca_file.is_none() && options.ca_path.is_none() {
        return system_roots();
    }
    let mut roots = RootCertStore::empty();
    let mut add = |option, file: &str| -> Result<(), TlsRefused> {
        for certificate in certificates(option, file)? {
            roots.add(certificate).map_err(|error| refused(option, format!("{file}: {error}")))?;
        }
        Ok(())
    };
    if let Some(file) = &options.ca_file {
        add("tls.ca_file", file)?;
    }
    if let Some(path) = &options.ca_path {
        for file in pem::files_of("tls.ca_path", path)? {
            add("tls.ca_path", &file)?;
        }
    }
    Ok(Arc::new(roots))
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

/// `tls.verify_hostname off`: the certificate must come from somebody who is trusted, whatever name it carries.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
