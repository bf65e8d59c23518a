//! Connections of outputs that speak no HTTP: their settings, and the memory that is set aside for them.

use std::time::Duration;

use budget::Share;
use engine::Setup;
use net::client::{self, NetOptions, Settings, Tls, TlsOptions};
use options::Reader;

/// How long the other side may take no bytes when `net.io_timeout` does not say.
const SILENCE: Duration = Duration::from_secs(60);

/// Settings with memory for so many connections at a time.
pub(crate) fn settings(
    net: &NetOptions,
    connections: usize,
    tls: bool,
    setup: &Setup,
    reader: &mut Reader<'_>,
) -> Option<Settings> {
    let mut settings = Settings { idle: connections, idle_per_peer: connections, ..Settings::default() };
    net.apply(&mut settings);
    settings.reach.io_timeout.get_or_insert(SILENCE);
    let each = client::CONNECTION + if tls { client::SESSION } else { 0 };
    settings.toll.account = Some(setup.account("connections", Share::fixed(connections * each), reader)?);
    Some(settings)
}

/// TLS if it is on. The outer `None` is a problem, which is then on record.
pub(crate) fn tls(options: &TlsOptions, reader: &mut Reader<'_>) -> Option<Option<Tls>> {
    if !options.enabled {
        return Some(None);
    }
    match Tls::new(options) {
        Ok(tls) => Some(Some(tls.without_http())),
        Err(refused) => {
            reader.refuse(refused.option, refused.what, None);
            None
        }
    }
}
