//! The client: one way out for everything that outputs send, by HTTP ([`Client`]) or not ([`Streams`]).
//!
//! HTTP/1.1 over TCP or TLS, with a pool of idle connections. Everything it holds has a bound, named in
//! [`Settings`] or below: connections that wait in the pool and how long, the time to connect and the time
//! of an exchange, the head and the body of a response. A request's body is sent from where it lies: see
//! [`Body`].
//!
//! ```no_run
//! # async fn example() -> Result<(), net::client::Error> {
//! use net::client::{Body, Client, Settings};
//!
//! let client = Client::new(Settings::default());
//! let request = http::Request::post("http://localhost:8080/logs").body(Body::from("[]"));
//! let response = client.send(request.expect("a constant request")).await?;
//! assert!(response.status().is_success());
//! # Ok(())
//! # }
//! ```
//!
//! A client belongs to the runtime it is first used in, because its connections do; each lane has its own. One
//! that keeps no idle connections (`idle: 0`) may be used from any.

mod body;
mod connect;
mod datagrams;
mod dial;
mod error;
mod names;
mod options;
mod peer;
mod pool;
mod proxy;
mod streams;
mod tls;
mod toll;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use body::Sending;
pub use body::{Body, Frames};
use connect::Connection;
pub use datagrams::Datagrams;
pub use dial::{Reach, TcpKeepalive};
pub use error::{Error, chain};
pub use names::{Names, Prefer};
pub use options::{NetOptions, TlsOptions, TrustOptions};
pub use peer::Peer;
use pool::Pool;
pub use proxy::Proxy;
pub use streams::{Stream, Streams};
pub use tls::{Tls, TlsRefused};

pub mod pem {
    //! Certificates and keys from files, for what is signed with them.
    pub use rustls_pki_types::PrivateKeyDer as PrivateKey;

    pub use crate::pem::{certificates, private_key};
}

pub use toll::{CONNECTION, SESSION, Toll};

/// What a client may take and hold.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The time to resolve a name, connect and shake hands.
    pub connect_timeout: Duration,
    /// The time from the first byte of a request to the last byte of its response.
    pub exchange_timeout: Duration,
    /// How long a connection waits in the pool for another request.
    pub idle_timeout: Duration,
    /// Connections that wait in the pool, in all. 0 closes each one after its response.
    pub idle: usize,
    /// Connections that wait in the pool for one host and port.
    pub idle_per_peer: usize,
    /// Requests that one connection carries before it is closed; 0 for no limit.
    pub recycle: usize,
    /// Bytes of a response's body. A longer one is an error when the response says success; of any other
    /// response only so much is kept, for the log.
    pub response_bytes: usize,
    /// How to speak TLS; without it a URL with `https` is an error.
    pub tls: Option<Tls>,
    /// How the way to a peer is made.
    pub reach: Reach,
    /// Who pays for connections.
    pub toll: Toll,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            connect_timeout: Duration::from_secs(10),
            exchange_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(30),
            idle: 8,
            idle_per_peer: 2,
            recycle: 2000,
            response_bytes: 64 << 10,
            tls: None,
            reach: Reach::default(),
            toll: Toll::default(),
        }
    }
}

/// Sends requests. Cheap to clone; all clones share the pool.
#[derive(Debug, Clone)]
pub struct Client {
    settings: Arc<Settings>,
    pool: Arc<Pool<Connection>>,
}

impl Client {
    /// A client without connections.
    pub fn new(settings: Settings) -> Client {
        let pool = Pool::new(settings.idle, settings.idle_per_peer, settings.idle_timeout);
        Client { settings: Arc::new(settings), pool: Arc::new(pool) }
    }

    /// Sends a request with an absolute URL and reads the response to its end. `Host` and `Content-Length` are
    /// filled in. Redirects are not followed.
    ///
    /// A connection from the pool may have been closed by the peer in the same moment. A request that fails on
    /// one before any response is therefore sent once more on a new connection.
    ///
    /// # Errors
    /// [`Error`]: what failed. No response was read to its end.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Bytes>, Error> {
        let (mut head, body) = request.into_parts();
        let peer = Peer::of(&head.uri)?;
        head.headers.entry(HOST).or_insert(peer.host_header()?);
        match self.settings.reach.proxy(&peer) {
            // Such a proxy is told the whole URL.
            Some(proxy) if !peer.tls => {
                if let Some(authorization) = proxy.authorization() {
                    let value =
                        HeaderValue::try_from(authorization).map_err(|_| Error::Url("the proxy's user"))?;
                    head.headers.insert(PROXY_AUTHORIZATION, value);
                }
            }
            _ => head.uri = origin_form(&head.uri)?,
        }
        if let Some(connection) = self.pool.take(&peer) {
            match self.exchange(connection, Request::from_parts(head.clone(), body.sending())).await {
                Err(Error::Send { .. }) => tracing::debug!(%peer, "the peer closed an idle connection"),
                result => return result,
            }
        }
        let paid = self.pool.pay(&self.settings.toll, &peer)?;
        let connection = Box::pin(connect::open(peer, &self.settings, paid)).await?;
        self.exchange(connection, Request::from_parts(head, body.sending())).await
    }

    /// One request and its response. Whatever ends this early closes the connection, because the connection is
    /// dropped here.
    async fn exchange(
        &self,
        mut connection: Connection,
        request: Request<Sending>,
    ) -> Result<Response<Bytes>, Error> {
        let limit = self.settings.response_bytes;
        let after = self.settings.exchange_timeout;
        let exchanged = timeout(after, round(&mut connection, request, limit)).await;
        let Ok(result) = exchanged else {
            return Err(Error::Timeout { peer: connection.peer.to_string(), doing: "answer", after });
        };
        let (response, whole) = result?;
        let worn = self.settings.recycle > 0 && connection.requests >= self.settings.recycle;
        if whole && !worn {
            self.pool.put(connection);
        }
        Ok(response)
    }
}

/// Sends and reads; also says whether the body was read to its end.
async fn round(
    connection: &mut Connection,
    request: Request<Sending>,
    limit: usize,
) -> Result<(Response<Bytes>, bool), Error> {
    let name = || connection.peer.to_string();
    let used_before = connection.requests > 0;
    let sent = match connection.sender.ready().await {
        Ok(()) => connection.sender.send_request(request).await,
        Err(closed) => Err(closed),
    };
    let response = sent.map_err(|source| {
        // Only a failure to send is tried again, and a fresh connection that ends without a response has
        // failed to answer.
        if source.is_parse() || (!used_before && source.is_incomplete_message()) {
            Error::Response { peer: name(), source }
        } else {
            Error::Send { peer: name(), source }
        }
    })?;
    let (head, body) = response.into_parts();
    let (bytes, whole) =
        read(body, limit).await.map_err(|source| Error::Response { peer: name(), source })?;
    if !whole && head.status.is_success() {
        return Err(Error::TooLarge { peer: name(), limit });
    }
    connection.requests += 1;
    Ok((Response::from_parts(head, bytes), whole))
}

/// The first `limit` bytes of a body, and whether that was all.
async fn read(mut body: Incoming, limit: usize) -> Result<(Bytes, bool), hyper::Error> {
    let mut bytes = Vec::with_capacity((body.size_hint().lower() as usize).min(limit));
    while let Some(frame) =
        std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await
    {
        let Ok(data) = frame?.into_data() else { continue };
        let room = limit - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok((bytes.into(), false));
        }
    }
    Ok((bytes.into(), true))
}

/// The path and query, as HTTP/1.1 wants them in a request line.
fn origin_form(uri: &Uri) -> Result<Uri, Error> {
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| Error::Url("the path"))
}

impl Peer {
    fn host_header(&self) -> Result<HeaderValue, Error> {
        HeaderValue::try_from(self.authority()).map_err(|_| Error::Url("the host"))
    }
}
