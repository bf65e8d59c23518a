//! How the name of a host becomes addresses.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Addresses of one name that are tried.
const ADDRESSES: usize = 4;

/// Names whose addresses are remembered, and for how long. The system's resolver does not say how long they are
/// valid, so it is the time in which a burst of connections asks once.
const REMEMBERED: usize = 32;
const FRESH: Duration = Duration::from_secs(5);

/// The addresses of names, by the system's resolver.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Which kind of address is tried first, or only.
    pub prefer: Prefer,
    recent: Arc<Mutex<Vec<Recent>>>,
}

/// Which addresses of a name are tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefer {
    /// The system's order.
    #[default]
    Any,
    /// Those of IPv4.
    V4,
    /// Those of IPv6.
    V6,
}

#[derive(Debug)]
struct Recent {
    host: String,
    addresses: Vec<SocketAddr>,
    since: Instant,
}

impl Names {
    /// Names whose addresses are tried in this order.
    pub fn new(prefer: Prefer) -> Names {
        Names { prefer, ..Names::default() }
    }

    /// The first few addresses of a host.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Some(mut addresses) = self.recent(host) {
            addresses.iter_mut().for_each(|address| address.set_port(port));
            return Ok(addresses);
        }
        let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
        match self.prefer {
            Prefer::Any => {}
            Prefer::V4 => addresses.sort_by_key(SocketAddr::is_ipv6),
            Prefer::V6 => addresses.sort_by_key(SocketAddr::is_ipv4),
        }
        addresses.truncate(ADDRESSES);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|other| other.host != host);
        if recent.len() >= REMEMBERED {
            recent.remove(0);
        }
        recent.push(Recent { host: host.to_owned(), addresses: addresses.clone(), since: Instant::now() });
        Ok(addresses)
    }

    fn recent(&self, host: &str) -> Option<Vec<SocketAddr>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|known| known.since.elapsed() < FRESH);
        recent.iter().find(|known| known.host == host).map(|known| known.addresses.clone())
    }

    /// The addresses did not work.
    pub(super) fn forget(&self, host: &str) {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| known.host != host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_remembered_for_a_while_within_a_bound() {
        let names = Names::new(Prefer::V4);
        for number in 0..REMEMBERED + 5 {
            let host = format!("127.0.0.{}", number + 1);
            let found = names.addresses(&host, 80).await.unwrap();
            assert_eq!(found, [SocketAddr::new(host.parse().unwrap(), 80)]);
        }
        assert_eq!(names.recent.lock().unwrap().len(), REMEMBERED);
        assert!(names.recent("127.0.0.37").is_some() && names.recent("127.0.0.1").is_none());
        assert_eq!(names.addresses("127.0.0.37", 81).await.unwrap()[0].port(), 81);
        names.forget("127.0.0.37");
        assert!(names.recent("127.0.0.37").is_none());
    }
}
