//! The options that outputs share: TLS and connections.

use options::{Options, Period, Reader};

use super::Settings;

/// Whom a client trusts.
#[derive(Debug, Clone, Options)]
pub struct TrustOptions {
    /// Verify the server's certificate and its name.
    #[option(name = "tls.verify", default = "on")]
    pub verify: bool,
    /// PEM file with the certificates to trust, in place of the system's.
    #[option(name = "tls.ca_file")]
    pub ca_file: Option<String>,
}

/// How an output speaks TLS with one server.
#[derive(Debug, Clone, Options)]
#[options(check = TlsOptions::check)]
pub struct TlsOptions {
    /// Speak TLS.
    #[option(name = "tls", default = "off")]
    pub enabled: bool,
    #[option(flatten)]
    /// Whom to trust.
    pub trust: TrustOptions,
    /// The name the certificate must carry and that is asked for (SNI), if it is not the host's.
    #[option(name = "tls.vhost")]
    pub vhost: Option<String>,
    /// PEM file with the certificate to show to the server.
    #[option(name = "tls.crt_file")]
    pub crt_file: Option<String>,
    /// PEM file with the key of `tls.crt_file`.
    #[option(name = "tls.key_file")]
    pub key_file: Option<String>,
}

impl TlsOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        match (&self.crt_file, &self.key_file) {
            (Some(_), None) => reader.refuse("tls.crt_file", "tls.crt_file without tls.key_file", None),
            (None, Some(_)) => reader.refuse("tls.key_file", "tls.key_file without tls.crt_file", None),
            _ => {}
        }
    }
}

/// How an output keeps its connections.
#[derive(Debug, Clone, Options)]
pub struct NetOptions {
    /// Keep connections for further requests.
    #[option(name = "net.keepalive", default = "on")]
    pub keepalive: bool,
    /// How long a connection waits for another request.
    #[option(name = "net.keepalive_idle_timeout", default = "30s")]
    pub idle_timeout: Period,
    /// Requests that one connection carries; 0 for no limit.
    #[option(name = "net.keepalive_max_recycle", default = "2000")]
    pub max_recycle: usize,
    /// The time to connect, with name lookup and handshake.
    #[option(name = "net.connect_timeout", default = "10s")]
    pub connect_timeout: Period,
}

impl NetOptions {
    /// Puts the options into the settings of a client.
    pub fn apply(&self, settings: &mut Settings) {
        settings.connect_timeout = self.connect_timeout.0;
        settings.idle_timeout = self.idle_timeout.0;
        settings.recycle = self.max_recycle;
        if !self.keepalive {
            settings.idle = 0;
        }
    }
}
