//! What inputs share that listen for connections: address, lanes, who pays.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use budget::Share;
use engine::{Setup, Stop};
use net::listener::{self, ListenOptions, SocketPath};
use net::server::{Accounts, Lanes, Listener, Protocol, RawServer, RawSettings, TlsServer, TlsServerOptions};
use options::{Invalid, Kind, Reader, Value};

/// Open connections may hold this part of the budget, what they have begun as much, and TLS sessions at work
/// once more.
const PART: usize = 4;
/// Pages a lane can always receive into.
const RECEIVING_PAGES: usize = 4;
/// How long a client may be silent in the middle of something that memory is held for.
const BEGUN: Duration = Duration::from_secs(60);

/// The permissions of a file, octal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Permissions(pub(crate) u32);

impl Value for Permissions {
    const KIND: Kind = Kind::Text;

    fn parse(text: &str) -> Result<Permissions, Invalid> {
        match u32::from_str_radix(text, 8) {
            Ok(bits) if bits <= 0o7777 => Ok(Permissions(bits)),
            _ => Err(Invalid::not(text, "permissions in octal digits").hint("write for example 0660")),
        }
    }
}

/// A place to listen, and what its connections are paid from.
pub(crate) struct Endpoint {
    workers: usize,
    settings: RawSettings,
    accounts: Accounts,
    lanes: Arc<Lanes>,
    bound: Mutex<Option<Bound>>,
}

enum Bound {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, #[allow(dead_code, reason = "removes the file")] SocketPath),
}

impl Endpoint {
    /// Opens the accounts and reads the certificates. What does not fit is a problem of the section.
    pub(crate) fn open(
        workers: usize,
        listen: &ListenOptions,
        tls: &TlsServerOptions,
        reader: &mut Reader<'_>,
        setup: &Setup,
    ) -> Option<Endpoint> {
        let part = setup.budget.stat().size / PART;
        let guaranteed = workers * RECEIVING_PAGES * setup.budget.page_size();
        let receive = setup.account("receive", Share { guaranteed, max: part.max(guaranteed) }, reader);
        let connections = setup.account("connections", Share::at_most(part), reader);
        let active = setup.account("active", Share::at_most(part), reader);
        let tls = TlsServer::new(tls, false)
            .map_err(|refused| reader.refuse(refused.option, refused.what, None))
            .ok()?;
        let idle = (!listen.io_timeout.is_zero()).then(|| listen.io_timeout.duration());
        Some(Endpoint {
            workers,
            settings: RawSettings { accept: listen.accept_timeout.duration(), idle, begun: BEGUN, tls },
            accounts: Accounts { connections: connections?, receive: receive?, active: active?, small: None },
            lanes: Lanes::new(0),
            bound: Mutex::new(None),
        })
    }

    /// How many lanes accept.
    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// Listens on an address.
    pub(crate) fn bind(&self, host: &str, port: u16, options: &ListenOptions) -> Result<(), String> {
        let bound = listener::bind_as(host, port, options)?;
        *self.bound.lock().unwrap_or_else(PoisonError::into_inner) = Some(Bound::Tcp(bound));
        Ok(())
    }

    /// Listens on a path.
    pub(crate) fn bind_unix(&self, path: &str, mode: Option<u32>) -> Result<(), String> {
        let (bound, path) = listener::bind_unix(path, mode)?;
        *self.bound.lock().unwrap_or_else(PoisonError::into_inner) = Some(Bound::Unix(bound, path));
        Ok(())
    }

    /// Speaks with clients until the agent stops. Once per lane.
    pub(crate) async fn serve(&self, protocol: impl Protocol, stop: &Stop) -> Result<(), String> {
        let listener = self.listener().map_err(|error| format!("the listener is lost: {error}"))?;
        let server = RawServer::new(protocol, self.settings.clone(), self.accounts.clone());
        server.serve(listener, Arc::clone(&self.lanes), stop.requested()).await;
        Ok(())
    }

    /// A lane's copy of the listening descriptor.
    fn listener(&self) -> std::io::Result<Listener> {
        let bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        match bound.as_ref().ok_or(std::io::ErrorKind::NotConnected)? {
            Bound::Tcp(listener) => {
                tokio::net::TcpListener::from_std(listener.try_clone()?).map(Listener::Tcp)
            }
            Bound::Unix(listener, _) => {
                tokio::net::UnixListener::from_std(listener.try_clone()?).map(Listener::Unix)
            }
        }
    }
}
