//! The load in HTTP/2: each connection has as many streams at a time as the plan is deep.
//!
//! Framing and flow control are the `h2` library's, on a runtime of one thread.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::outcome::{Outcome, Progress};
use super::plan::{Body, Plan};
use super::tally::Tally;
use super::{BACKOFF, Held, TICK, tls};

/// What a stream and a connection may have on the way to here; answers are small.
const WINDOW: u32 = 1 << 20;

struct Load {
    plan: Plan,
    tally: RefCell<Tally>,
    /// Connections that stay open, and what keeps them so.
    open: RefCell<Vec<SendRequest<Bytes>>>,
}

/// Sends a load and waits for its last answer. The connections are handed back open.
pub fn run(plan: &Plan, progress: &mut dyn FnMut(Progress)) -> io::Result<(Outcome, Held)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    let (tally, open) = (RefCell::new(Tally::new(plan)), RefCell::default());
    let load = Rc::new(Load { plan: plan.clone(), tally, open });
    tasks.block_on(&runtime, async {
        let connections: Vec<JoinHandle<()>> =
            (0..plan.connections).map(|_| spawn_local(connection(Rc::clone(&load)))).collect();
        for mut connection in connections {
            // Progress is told while the last connections are waited for.
            while timeout(TICK, &mut connection).await.is_err() {
                progress(load.tally.borrow().progress(plan));
            }
        }
    });
    let open = load.open.take();
    let outcome = load.tally.replace(Tally::new(plan)).finish();
    Ok((outcome, Held::new(open.len(), (open, tasks, runtime))))
}

impl Load {
    /// Begins a request, if there is one to begin.
    fn begin(&self) -> Option<(usize, Instant)> {
        let now = Instant::now();
        self.tally.borrow_mut().begin(&self.plan, now).map(|body| (body, now))
    }

    fn failed(&self, reason: &h2::Error) {
        let reason = reason.get_io().map_or_else(|| reason.to_string(), |error| error.kind().to_string());
        self.tally.borrow_mut().failed(reason);
    }
}

/// One connection, opened again as often as it breaks.
async fn connection(load: Rc<Load>) {
    while load.tally.borrow().has_more(&load.plan, Instant::now()) {
        let sender = match timeout(load.plan.patience, open(&load.plan)).await {
            Ok(Ok(sender)) => sender,
            failed => {
                let reason = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => io::ErrorKind::TimedOut.to_string(),
                };
                if load.begin().is_some() {
                    load.tally.borrow_mut().failed(reason);
                }
                sleep(BACKOFF).await;
                continue;
            }
        };
        load.tally.borrow_mut().connected();
        let streams: Vec<JoinHandle<bool>> =
            (0..load.plan.depth).map(|_| spawn_local(stream(Rc::clone(&load), sender.clone()))).collect();
        let mut broken = false;
        for stream in streams {
            broken |= stream.await.unwrap_or(true);
        }
        if broken {
            sleep(BACKOFF).await;
        } else if !load.plan.new_connections {
            load.open.borrow_mut().push(sender);
        }
    }
}

async fn open(plan: &Plan) -> io::Result<SendRequest<Bytes>> {
    let socket = TcpStream::connect(plan.target.address).await?;
    socket.set_nodelay(true)?;
    let Some(config) = &plan.tls else { return handshake(socket).await };
    let connector = TlsConnector::from(std::sync::Arc::clone(config));
    let stream = connector.connect(tls::name(plan.target.name())?, socket).await?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(io::Error::other("the server does not offer HTTP/2"));
    }
    handshake(stream).await
}

async fn handshake<T>(transport: T) -> io::Result<SendRequest<Bytes>>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut builder = h2::client::Builder::new();
    // Until the server has said how many streams it takes, one is safe.
    builder.initial_max_send_streams(1);
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let (sender, connection) = builder.handshake(transport).await.map_err(io::Error::other)?;
    spawn_local(async move {
        // What breaks it is what its requests report.
        let _broken = connection.await;
    });
    Ok(sender)
}

/// Requests one after the other. Whether the connection is broken.
async fn stream(load: Rc<Load>, mut sender: SendRequest<Bytes>) -> bool {
    while let Some((body, begun)) = load.begin() {
        match timeout(load.plan.patience, exchange(&load.plan, &load.plan.bodies[body], &mut sender)).await {
            Ok(Ok(status)) => {
                load.tally.borrow_mut().answered(&load.plan, status, body, begun, Instant::now());
            }
            Ok(Err(error)) => {
                load.failed(&error);
                return true;
            }
            Err(_) => {
                load.tally.borrow_mut().failed(io::ErrorKind::TimedOut.to_string());
                return true;
            }
        }
        if load.plan.new_connections {
            return false;
        }
        if !load.plan.delay.is_zero() {
            sleep(load.plan.delay).await;
        }
    }
    false
}

async fn exchange(plan: &Plan, body: &Body, sender: &mut SendRequest<Bytes>) -> Result<u16, h2::Error> {
    // Waits until the server allows one more stream.
    std::future::poll_fn(|context| sender.poll_ready(context)).await?;
    let scheme = if plan.tls.is_some() { "https" } else { "http" };
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("{scheme}://{}{}", plan.target.host, plan.target.path))
        .header("content-type", "application/json")
        .header("content-length", body.bytes.len());
    if body.gzip {
        request = request.header("content-encoding", "gzip");
    }
    // The parts were checked when the URL was read.
    let request = request.body(()).map_err(|_| h2::Error::from(h2::Reason::INTERNAL_ERROR))?;
    let (answer, mut stream) = sender.send_request(request, false)?;
    stream.send_data(body.bytes.clone(), true)?;
    let answer = answer.await?;
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    while let Some(piece) = body.data().await {
        body.flow_control().release_capacity(piece?.len())?;
    }
    Ok(status)
}
