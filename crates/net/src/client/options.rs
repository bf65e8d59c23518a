//! The options that outputs share: TLS and connections.

use std::net::IpAddr;
use std::sync::Arc;

use options::{Choice, Invalid, Kind, Options, Period, Reader, Secret, Value};
use tokio::sync::Semaphore;

use super::{Names, Prefer, Proxy, Settings, TcpKeepalive};

/// Whom a client trusts.
#[derive(Debug, Clone, Options)]
pub struct TrustOptions {
    /// Verify the server's certificate.
    #[option(name = "tls.verify", default = "on")]
    pub verify: bool,
    /// Verify that the certificate carries the server's name.
    #[option(name = "tls.verify_hostname", default = "on")]
    pub verify_hostname: bool,
    /// PEM file with the certificates to trust, in place of the system's.
    #[option(name = "tls.ca_file")]
    pub ca_file: Option<String>,
    /// Directory of PEM files with the certificates to trust, in place of the system's.
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

impl Default for TrustOptions {
    fn default() -> TrustOptions {
        TrustOptions {
            verify: true,
            verify_hostname: true,
            ca_file: None,
            ca_path: None,
            min_version: None,
            max_version: None,
            ciphers: None,
        }
    }
}

/// How an output speaks TLS with one server.
#[derive(Debug, Clone, Default, Options)]
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
    /// Password of `tls.key_file`.
    #[option(name = "tls.key_passwd")]
    pub key_passwd: Option<Secret>,
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
#[options(check = NetOptions::check)]
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
    #[option(name = "net.connect_timeout", default = "10s", min = "1s")]
    pub connect_timeout: Period,
    /// Log connections that are not made in time as errors rather than for debugging.
    #[option(name = "net.connect_timeout_log_error", default = "on")]
    pub connect_timeout_log_error: bool,
    /// How long the other side may take no bytes, or give no answer; 0 leaves that to the output's own limits.
    #[option(name = "net.io_timeout", default = "0s")]
    pub io_timeout: Period,
    /// Let the system ask now and then whether a silent peer is still there.
    #[option(name = "net.tcp_keepalive", default = "off")]
    pub tcp_keepalive: bool,
    /// Seconds of silence before it asks; -1 for the system's own number.
    #[option(name = "net.tcp_keepalive_time", default = "-1")]
    pub tcp_keepalive_time: i32,
    /// Seconds between two questions; -1 for the system's own number.
    #[option(name = "net.tcp_keepalive_interval", default = "-1")]
    pub tcp_keepalive_interval: i32,
    /// Questions without an answer until the connection is given up; -1 for the system's own number.
    #[option(name = "net.tcp_keepalive_probes", default = "-1")]
    pub tcp_keepalive_probes: i32,
    /// Address of this machine that connections come from.
    #[option(name = "net.source_address")]
    pub source_address: Option<Address>,
    /// The most connections at a time; 0 for as many as there are flushes.
    #[option(name = "net.max_worker_connections", default = "0")]
    pub max_worker_connections: usize,
    /// Do without the proxy that the environment names (HTTP_PROXY).
    #[option(name = "net.proxy_env_ignore", default = "off")]
    pub proxy_env_ignore: bool,
    /// How name servers are asked: it is the system's resolver that does, as resolv.conf says.
    #[option(name = "net.dns.mode")]
    pub dns_mode: Option<DnsMode>,
    /// Who asks them: the system's resolver, in a thread of its own.
    #[option(name = "net.dns.resolver")]
    pub dns_resolver: Option<DnsResolver>,
    /// Try a name's addresses of IPv4 first.
    #[option(name = "net.dns.prefer_ipv4", default = "off")]
    pub prefer_ipv4: bool,
    /// Try a name's addresses of IPv6 first.
    #[option(name = "net.dns.prefer_ipv6", default = "off")]
    pub prefer_ipv6: bool,
}

/// How name servers are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub enum DnsMode {
    /// By datagrams.
    Udp,
    /// By connections.
    Tcp,
}

/// Who asks name servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub enum DnsResolver {
    /// The system.
    Legacy,
    /// The system too, in a thread of its own.
    Async,
}

/// An address of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub IpAddr);

impl Value for Address {
    const KIND: Kind = Kind::Text;

    fn parse(text: &str) -> Result<Address, Invalid> {
        text.parse().map(Address).map_err(|_| Invalid::not(text, "an IP address"))
    }
}

impl NetOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        reader.without_effect("net.dns.mode");
        reader.without_effect("net.dns.resolver");
        if !self.proxy_env_ignore
            && let Err(what) = Proxy::from_environment()
        {
            let hint = "correct the variable, or set net.proxy_env_ignore on".to_owned();
            reader.refuse("net.proxy_env_ignore", what, Some(hint));
        }
    }

    /// Puts the options into the settings of a client.
    pub fn apply(&self, settings: &mut Settings) {
        settings.connect_timeout = self.connect_timeout.0;
        settings.idle_timeout = self.idle_timeout.0;
        settings.recycle = self.max_recycle;
        if !self.keepalive {
            settings.idle = 0;
        }
        let number = |value: i32| u32::try_from(value).ok();
        let reach = &mut settings.reach;
        reach.io_timeout = Some(self.io_timeout.0).filter(|limit| !limit.is_zero());
        reach.source = self.source_address.map(|address| address.0);
        reach.keepalive = self.tcp_keepalive.then(|| TcpKeepalive {
            time: number(self.tcp_keepalive_time),
            interval: number(self.tcp_keepalive_interval),
            probes: number(self.tcp_keepalive_probes),
        });
        reach.names = Names::new(match (self.prefer_ipv4, self.prefer_ipv6) {
            (true, _) => Prefer::V4,
            (false, true) => Prefer::V6,
            (false, false) => Prefer::Any,
        });
        if !self.proxy_env_ignore {
            reach.proxy = Proxy::from_environment().ok().flatten();
        }
        let most = self.max_worker_connections;
        settings.toll.most = (most > 0).then(|| Arc::new(Semaphore::new(most)));
    }
}
