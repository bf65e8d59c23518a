//! Start, accept loop and stop.
//!
//! The server has one thread with a current-thread runtime for all connections, and that runtime's blocking
//! threads for files. It stops by dropping the runtime: what was answered is on disk, what was not
//! answered never happened.

use std::fs::{File, TryLockError};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::azurite::{self, Azurite};
use crate::engine::record::Records;
use crate::engine::table::{Batching, Tables};
use crate::engine::{ingest, schema};
use crate::faults::Faults;
use crate::options::{Endpoint, Options};
use crate::route::Role;
use crate::state::{Requests, Seen, State, Streamed};
use crate::storage::blob::Blobs;
use crate::storage::queue::{self, Queues};
use crate::storage::status::Statuses;
use crate::{files, limits, route, secrets, tls};

/// A running server. Dropping it stops it.
pub struct Server {
    endpoint: Endpoint,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Opens the folder, binds the port and serves on a thread of its own.
    ///
    /// # Errors
    ///
    /// When the folder is in use by another server, cannot be read or written, or the address cannot be
    /// bound. The error's text names the path or address.
    pub fn start(mut options: Options) -> io::Result<Self> {
        files::make_dir(&options.dir)?;
        // The path of the CA file is for clients, which may run elsewhere.
        options.dir = files::at(&options.dir, options.dir.canonicalize())?;
        let lock = lock(&options.dir)?;
        let acceptor = if options.plain_http { None } else { Some(tls::acceptor(&options.dir)?) };
        let listener = bind(options.listen)?;
        let address = listener.local_addr()?;
        let role = if options.engine.is_some() { Role::Management } else { Role::Both };
        let mut listeners = vec![(listener, role, acceptor.clone())];
        let mut engine_endpoint = base_url(options.plain_http, address);
        if let Some(engine) = options.engine {
            let listener = bind(engine)?;
            engine_endpoint = base_url(options.plain_http, listener.local_addr()?);
            listeners.push((listener, Role::Engine, acceptor.clone()));
        }
        let mut machine = None;
        if let Some(imds) = options.imds {
            let listener = bind(imds)?;
            machine = Some(base_url(true, listener.local_addr()?));
            listeners.push((listener, Role::Machine, None));
        }
        let state = Arc::new(open(&options, address, lock)?);
        let endpoint = Endpoint {
            ingestion_endpoint: state.base_url.clone(),
            engine_endpoint,
            authority_host: state.base_url.clone(),
            imds: machine,
            ca_file: acceptor.is_some().then(|| tls::ca_file(&options.dir)),
            tenant_id: state.identity.tenant.clone(),
            client_id: state.identity.client_id.clone(),
            client_secret: state.identity.client_secret.clone(),
            database: options.database,
            table: options.table,
            federated_token_file: state.federated_token_file.clone(),
        };
        files::replace_private(&options.dir.join("endpoint.env"), endpoint.to_string().as_bytes())?;

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        if let Some(azurite) = &state.azurite {
            // On a thread of its own, because the caller's may run a runtime.
            let prepared =
                std::thread::scope(|scope| scope.spawn(|| runtime.block_on(azurite.prepare())).join());
            let prepared =
                prepared.unwrap_or_else(|_| Err(io::Error::other("preparing Azurite stopped at a bug")));
            if let Err(error) = prepared {
                // Not waited for, which a runtime of the caller's would not allow.
                runtime.shutdown_background();
                return Err(error);
            }
        }
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("kusto-local".to_owned()).spawn(move || {
            runtime.block_on(serve(listeners, serving, stopped));
            // An ingestion under way is not waited for beyond this; it starts again at the next start.
            runtime.shutdown_timeout(Duration::from_secs(5));
        })?;
        Ok(Self { endpoint, state, stop: Some(stop), thread: Some(thread) })
    }

    /// How to point a client at this server.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Rows committed to a table; None when there is no such table.
    #[must_use]
    pub fn rows(&self, table: &str) -> Option<u64> {
        self.state.tables.get(table).map(|table| table.committed().rows)
    }

    /// Stops the server and waits until its thread has ended.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread has ended already when nobody listens.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("kusto-local: the server's thread panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Two servers on one folder would write over each other's commits.
fn lock(dir: &Path) -> io::Result<File> {
    let path = dir.join("lock");
    let file = files::at(&path, File::create(&path))?;
    // A process that was just started by this one holds copies of its descriptors, and with them the lock of a
    // server that has ended, until it runs its own program: so a lock that is taken is asked for again.
    for _ in 0..limits::LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(limits::LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return files::at(&path, Err(error)),
        }
    }
    let what = format!("{}: another kusto-local uses this folder", dir.display());
    Err(io::Error::new(io::ErrorKind::ResourceBusy, what))
}

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)
        .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn open(options: &Options, address: SocketAddr, lock: File) -> io::Result<State> {
    let dir = &options.dir;
    let (signer, mut identity) = secrets::load(dir)?;
    let replace = |value: &mut String, option: &Option<String>| {
        if let Some(option) = option {
            value.clone_from(option);
        }
    };
    replace(&mut identity.tenant, &options.tenant);
    replace(&mut identity.client_id, &options.client_id);
    replace(&mut identity.client_secret, &options.client_secret);
    let tables = Tables::open(dir.join("tables"))?;
    if let Some(name) = &options.table {
        let name = schema::entity_name(name).map_err(io::Error::other)?;
        let table = tables.create(&name, schema::log_columns())?;
        if options.streaming {
            table.change(|committed| committed.streaming = true)?;
        }
    }
    let federated_token_file = dir.join("federated-token");
    if !federated_token_file.exists() {
        files::replace_private(&federated_token_file, secrets::request_id().as_bytes())?;
    }
    let azurite = options.azurite.as_ref();
    let azurite =
        azurite.map(|(url, key)| Azurite::new(url, key.as_deref().unwrap_or(azurite::KEY))).transpose()?;
    let records = Records::open(dir)?;
    let in_tables = tables.list().iter().map(|table| table.committed().last_message()).max();
    let used = in_tables.unwrap_or(0).max(records.last_sequence());
    Ok(State {
        base_url: base_url(options.plain_http, address),
        identity,
        signer,
        token_lifetime: options.token_lifetime,
        sas_lifetime: options.sas_lifetime,
        short_sas: options.short_sas,
        plain_http: options.plain_http,
        database: options.database.clone(),
        tables,
        records,
        queues: Queues::open(queue::folder(dir), used)?,
        blobs: Blobs::open(dir.join("storage"))?,
        statuses: Statuses::default(),
        azurite: azurite.map(Arc::new),
        batching: Batching {
            time_ms: u64::try_from(options.batching_time.as_millis()).unwrap_or(u64::MAX),
            items: limits::BATCH_ITEMS,
            raw_mb: limits::BATCH_MB,
        },
        permitted: AtomicBool::new(true),
        streamed: Streamed::default(),
        seen: Seen::default(),
        metadata: options.metadata,
        federated_token_file,
        faults: Faults::default(),
        requests: Requests::default(),
        _lock: lock,
    })
}

/// The URL clients use. The certificate is for loopback, so that is what an address for all interfaces says.
fn base_url(plain_http: bool, address: SocketAddr) -> String {
    let scheme = if plain_http { "http" } else { "https" };
    let port = address.port();
    match address.ip() {
        ip if ip.is_unspecified() => format!("{scheme}://localhost:{port}"),
        IpAddr::V4(ip) => format!("{scheme}://{ip}:{port}"),
        IpAddr::V6(ip) => format!("{scheme}://[{ip}]:{port}"),
    }
}

async fn serve(
    listeners: Vec<(std::net::TcpListener, Role, Option<TlsAcceptor>)>,
    state: Arc<State>,
    stopped: oneshot::Receiver<()>,
) {
    let mut tasks = vec![tokio::spawn(ingest::run(Arc::clone(&state)))];
    if let Some(azurite) = &state.azurite {
        tasks.push(tokio::spawn(Arc::clone(azurite).collect(Arc::clone(&state))));
    }
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS));
    for (listener, role, acceptor) in listeners {
        match TcpListener::from_std(listener) {
            Ok(listener) => {
                let serving = accept(listener, role, acceptor, Arc::clone(&state), Arc::clone(&places));
                tasks.push(tokio::spawn(serving));
            }
            Err(error) => eprintln!("kusto-local: {error}"),
        }
    }
    // An error means that the server was dropped, which stops it as well.
    let _ = stopped.await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}

async fn accept(
    listener: TcpListener,
    role: Role,
    acceptor: Option<TlsAcceptor>,
    state: Arc<State>,
    places: Arc<Semaphore>,
) {
    loop {
        // The semaphore is never closed.
        let place = Arc::clone(&places).acquire_owned().await.ok();
        match listener.accept().await {
            Ok((stream, _)) => {
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
                tokio::spawn(async move {
                    Box::pin(connection(stream, role, acceptor, state)).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly: wait for connections to end.
                eprintln!("kusto-local: accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, role: Role, acceptor: Option<TlsAcceptor>, state: Arc<State>) {
    // Answers are small and a client waits for each.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    match acceptor {
        None => http(stream, role, state).await,
        Some(acceptor) => {
            // A failed handshake is the client's to report.
            if let Ok(Ok(stream)) = tokio::time::timeout(limits::TLS_HANDSHAKE, acceptor.accept(stream)).await
            {
                http(stream, role, state).await;
            }
        }
    }
}

/// A stream with a TCP socket below.
trait Socket: AsyncRead + AsyncWrite + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

async fn http(stream: impl Socket, role: Role, state: Arc<State>) {
    let reset = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| {
        // Boxed: one request's future is large, and a connection has one at a time.
        Box::pin(route::serve(Arc::clone(&state), role, Arc::clone(&reset), request))
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::IDLE)
        .serve_connection(TokioIo::new(stream), service);
    // An error is the client's going away, or a fault this server was told to make.
    let _ = (&mut connection).await;
    if reset.load(Ordering::Relaxed) {
        // Closing with zero linger makes the kernel send RST, as a crashed or overloaded front end does.
        let stream = connection.into_parts().io.into_inner();
        let _ = stream.tcp().set_zero_linger();
    }
}
