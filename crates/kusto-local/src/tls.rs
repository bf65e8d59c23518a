//! The server's own certificate authority and certificate.
//!
//! On the first start a CA and a server certificate for `localhost`, `127.0.0.1` and `::1` are made and kept
//! in the folder: `ca.pem` is what a client must trust, `server.pem` and `server-key.pem` are used again
//! on each later start, so that a client configured once stays configured. The CA's key is not kept: it
//! signed its one certificate, and a key that does not exist cannot be stolen by whoever trusts `ca.pem`.
//! Delete `server.pem` to get new ones.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::Duration;
use tokio_rustls::TlsAcceptor;

use crate::{files, stamp};

const PEM_BYTES: u64 = 64 << 10;

/// Where the CA certificate of `dir` is.
pub(crate) fn ca_file(dir: &Path) -> PathBuf {
    dir.join("ca.pem")
}

/// Loads the server certificate of `dir`, or makes it with its CA.
pub(crate) fn acceptor(dir: &Path) -> io::Result<TlsAcceptor> {
    let (cert, key) = (dir.join("server.pem"), dir.join("server-key.pem"));
    // The certificate is written last: when it is there, the other two are.
    if !cert.exists() {
        make(dir, &cert, &key).map_err(io::Error::other)?;
    }
    let chain = CertificateDer::pem_slice_iter(&files::read(&cert, PEM_BYTES)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(&files::read(&key, PEM_BYTES)?).map_err(io::Error::other)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn make(dir: &Path, cert: &Path, key: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "kusto-local CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (ca.not_before, ca.not_after) = lifetime();
    let ca_cert = ca.self_signed(&ca_key)?;

    let server_key = KeyPair::generate()?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut server = CertificateParams::new(names)?;
    server.distinguished_name.push(DnType::CommonName, "kusto-local");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    (server.not_before, server.not_after) = lifetime();
    let server_cert = server.signed_by(&server_key, &Issuer::new(ca, ca_key))?;

    files::replace(&ca_file(dir), ca_cert.pem().as_bytes())?;
    files::replace_private(key, server_key.serialize_pem().as_bytes())?;
    files::replace(cert, server_cert.pem().as_bytes())?;
    Ok(())
}

/// From yesterday (clocks differ a little) for two years; Apple's verifier refuses more than 825 days.
fn lifetime() -> (time::OffsetDateTime, time::OffsetDateTime) {
    let now = stamp::now();
    (now - Duration::days(1), now + Duration::days(730))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_made_once_and_used_again() {
        let dir = tempfile::tempdir().unwrap();
        acceptor(dir.path()).unwrap();
        let first = files::read(&ca_file(dir.path()), PEM_BYTES).unwrap();
        acceptor(dir.path()).unwrap();
        assert_eq!(files::read(&ca_file(dir.path()), PEM_BYTES).unwrap(), first);
    }
}
