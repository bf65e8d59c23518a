//! How an input speaks TLS: its certificate, whom it lets in, what it offers.

use std::sync::Arc;

use options::{Options, Reader};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion, version,
};

use crate::client::TlsRefused;
use crate::pem;

/// How an input speaks TLS with its clients.
#[derive(Debug, Clone, Options)]
#[options(check = TlsServerOptions::check)]
pub struct TlsServerOptions {
    /// Speak TLS.
    #[option(name = "tls", default = "off")]
    pub enabled: bool,
    /// PEM file with the certificate to show, and those it depends on.
    #[option(name = "tls.crt_file")]
    pub crt_file: Option<String>,
    /// PEM file with the key of `tls.crt_file`.
    #[option(name = "tls.key_file")]
    pub key_file: Option<String>,
    /// Let in only clients that show a certificate of an authority in `tls.ca_file` or `tls.ca_path`.
    #[option(name = "tls.verify_client_cert", default = "off")]
    pub verify_client_cert: bool,
    /// PEM file with the authorities whose clients are let in.
    #[option(name = "tls.ca_file")]
    pub ca_file: Option<String>,
    /// Directory of PEM files with the authorities whose clients are let in.
    #[option(name = "tls.ca_path")]
    pub ca_path: Option<String>,
    /// The oldest version that is spoken: TLSv1.2 or TLSv1.3.
    #[option(name = "tls.min_version")]
    pub min_version: Option<String>,
    /// The newest version that is spoken: TLSv1.2 or TLSv1.3.
    #[option(name = "tls.max_version")]
    pub max_version: Option<String>,
    /// Cipher suites that may be used, by OpenSSL's names, with colons between them.
    #[option(name = "tls.ciphers")]
    pub ciphers: Option<String>,
}

impl TlsServerOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        if !self.enabled {
            return;
        }
        for (option, file) in [("tls.crt_file", &self.crt_file), ("tls.key_file", &self.key_file)] {
            if file.is_none() {
                let hint = format!("set {option} to a PEM file, or tls to off");
                reader.refuse("tls", format!("tls is on and {option} is missing"), Some(hint));
            }
        }
        if self.verify_client_cert && self.ca_file.is_none() && self.ca_path.is_none() {
            let what = "tls.verify_client_cert without the authorities to trust";
            reader.refuse("tls.verify_client_cert", what, Some("set tls.ca_file or tls.ca_path".to_owned()));
        }
    }
}

/// What sessions are made from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TlsServer(Arc<ServerConfig>);

impl TlsServer {
    /// Reads certificates and key; `http2` offers HTTP/2 beside HTTP/1.1. `None` when TLS is off.
    ///
    /// # Errors
    /// [`TlsRefused`]: the option to put right.
    pub fn new(options: &TlsServerOptions, http2: bool) -> Result<Option<TlsServer>, TlsRefused> {
        let (true, Some(crt), Some(key)) = (options.enabled, &options.crt_file, &options.key_file) else {
            return Ok(None);
        };
        let provider = Arc::new(CryptoProvider {
            cipher_suites: suites(options.ciphers.as_deref())?,
            ..ring::default_provider()
        });
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(&options.min_version, &options.max_version)?)
            .map_err(|error| pem::refused("tls.ciphers", format!("no suite fits the versions: {error}")))?;
        let builder = if options.verify_client_cert {
            let roots = Arc::new(authorities(options)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| pem::refused("tls.ca_file", error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder
            .with_single_cert(pem::certificates("tls.crt_file", crt)?, pem::private_key("tls.key_file", key)?)
            .map_err(|error| pem::refused("tls.key_file", format!("{key} does not fit {crt}: {error}")))?;
        // Sessions are resumed by tickets that the client keeps; nothing of them is kept here.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ring::Ticketer::new()
            .map_err(|error| pem::refused("tls", format!("no random numbers: {error}")))?;
        let offered: &[&[u8]] =
            if http2 { &[b"h2", b"http/1.1", b"http/1.0"] } else { &[b"http/1.1", b"http/1.0"] };
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        Ok(Some(TlsServer(Arc::new(config))))
    }

    /// A session that has not begun.
    pub(super) fn session(&self) -> Option<ServerConnection> {
        ServerConnection::new(Arc::clone(&self.0)).ok()
    }
}

fn authorities(options: &TlsServerOptions) -> Result<RootCertStore, TlsRefused> {
    let mut roots = RootCertStore::empty();
    let mut add = |option, file: &str| -> Result<(), TlsRefused> {
        for certificate in pem::certificates(option, file)? {
            roots.add(certificate).map_err(|error| pem::refused(option, format!("{file}: {error}")))?;
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
    Ok(roots)
}

/// The versions between these two, which are names or nothing.
pub(crate) fn versions(
    oldest: &Option<String>,
    newest: &Option<String>,
) -> Result<Vec<&'static SupportedProtocolVersion>, TlsRefused> {
    // 0 for TLS 1.2, 1 for TLS 1.3; older ones are not spoken, so a lower bound below them is no bound.
    let read = |option, value: &Option<String>, default, below| match value.as_deref() {
        None => Ok(default),
        Some(name) => match name.to_ascii_lowercase().as_str() {
            "tlsv1.2" => Ok(0),
            "tlsv1.3" => Ok(1),
            "sslv2" | "sslv3" | "tlsv1" | "tlsv1.0" | "tlsv1.1" => below,
            _ => Err(pem::refused(option, format!("\"{name}\" is no version: TLSv1.2 or TLSv1.3"))),
        },
    };
    let oldest = read("tls.min_version", oldest, 0, Ok(0))?;
    let too_old = pem::refused("tls.max_version", "versions before TLSv1.2 are not spoken");
    let newest = read("tls.max_version", newest, 1, Err(too_old))?;
    if oldest > newest {
        return Err(pem::refused("tls.min_version", "tls.min_version is newer than tls.max_version"));
    }
    Ok([&version::TLS12, &version::TLS13][oldest..=newest].to_vec())
}

/// OpenSSL's names of the suites that exist here, and their names in the standard.
const SUITES: &[(&str, &str)] = &[
    ("TLS_AES_256_GCM_SHA384", "TLS13_AES_256_GCM_SHA384"),
    ("TLS_AES_128_GCM_SHA256", "TLS13_AES_128_GCM_SHA256"),
    ("TLS_CHACHA20_POLY1305_SHA256", "TLS13_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];

/// The suites that a list allows. As with OpenSSL the list is about TLS 1.2: the suites of TLS 1.3 are taken
/// away only by a list that names some of them.
pub(crate) fn suites(
    list: Option<&str>,
) -> Result<Vec<tokio_rustls::rustls::SupportedCipherSuite>, TlsRefused> {
    let all = ring::ALL_CIPHER_SUITES.to_vec();
    let Some(list) = list else { return Ok(all) };
    let mut named = Vec::new();
    for name in list.split([':', ',', ' ']).filter(|name| !name.is_empty()) {
        let known = SUITES.iter().find(|(openssl, _)| openssl.eq_ignore_ascii_case(name));
        let Some((_, standard)) = known else {
            let known: Vec<&str> = SUITES.iter().map(|(openssl, _)| *openssl).collect();
            let what = format!("\"{name}\" is not available; there are {}", known.join(", "));
            return Err(pem::refused("tls.ciphers", what));
        };
        named.push(*standard);
    }
    let is_13 = |name: &str| name.starts_with("TLS13_");
    let restricts_13 = named.iter().any(|name| is_13(name));
    let keep = |suite: &tokio_rustls::rustls::SupportedCipherSuite| {
        let name = format!("{:?}", suite.suite());
        named.contains(&name.as_str()) || (is_13(&name) && !restricts_13)
    };
    Ok(all.into_iter().filter(keep).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ciphers_are_chosen_by_openssls_names() {
        let names = |list| -> Vec<String> {
            suites(list).unwrap().iter().map(|suite| format!("{:?}", suite.suite())).collect()
        };
        assert_eq!(names(None).len(), SUITES.len(), "every suite has a name");
        assert_eq!(names(Some("TLS_AES_128_GCM_SHA256")), ["TLS13_AES_128_GCM_SHA256"]);
        let twelve = names(Some("ECDHE-RSA-AES128-GCM-SHA256"));
        assert_eq!(twelve.len(), 4, "TLS 1.3 stays: {twelve:?}");
        assert!(suites(Some("RC4-MD5")).unwrap_err().what.contains("ECDHE-RSA-AES128-GCM-SHA256"));
    }
}
