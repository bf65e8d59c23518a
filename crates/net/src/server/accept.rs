//! Accepts connections for a lane and gives each to the lane that has the fewest.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::lanes::{Lanes, Member, Place};
use super::stream::Stream;
use super::watch::{TICK, Watch, Watches};
use super::{Accounts, Slot, TlsServer, connection_bytes};

/// A lane's copy of a listening descriptor.
#[derive(Debug)]
pub enum Listener {
    /// On an address.
    Tcp(TcpListener),
    /// On a path.
    Unix(UnixListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<Socket> {
        match self {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| Socket::Tcp(stream)),
            Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| Socket::Unix(stream)),
        }
    }
}

/// A connection that a lane's runtime knows.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection on its way to another lane.
#[derive(Debug)]
pub(super) enum Arrival {
    Tcp(std::net::TcpStream),
    Unix(StdUnixStream),
}

impl Socket {
    fn leave_runtime(self) -> io::Result<Arrival> {
        match self {
            Socket::Tcp(stream) => stream.into_std().map(Arrival::Tcp),
            Socket::Unix(stream) => stream.into_std().map(Arrival::Unix),
        }
    }

    fn enter_runtime(arrival: Arrival) -> io::Result<Socket> {
        match arrival {
            Arrival::Tcp(stream) => TcpStream::from_std(stream).map(Socket::Tcp),
            Arrival::Unix(stream) => UnixStream::from_std(stream).map(Socket::Unix),
        }
    }

    fn plain(self) -> Stream {
        match self {
            Socket::Tcp(stream) => Stream::Plain(stream),
            Socket::Unix(stream) => Stream::Unix(stream),
        }
    }
}

/// What takes the connections of a listener, in one lane.
pub(super) trait Host: 'static {
    /// Who pays.
    fn accounts(&self) -> &Accounts;
    /// Speak TLS.
    fn tls(&self) -> Option<&TlsServer>;
    /// The deadlines of the lane's connections.
    fn watches(&self) -> &Rc<Watches>;
    /// Serves a connection to its end, in a task of its own.
    fn run(self: Rc<Self>, stream: Stream, watch: Watch, slot: Slot);
    /// Says no to a connection that there is no room for, without memory for it.
    fn turn_away(self: Rc<Self>, stream: Stream);
}

/// Accepts until `stop` is ready; connections then end where nothing is lost by it. `lanes` are those that
/// accept from copies of the same listener: connections are spread evenly over them.
pub(super) async fn serve<H: Host>(
    host: Rc<H>,
    listener: Listener,
    lanes: Arc<Lanes>,
    stop: impl Future<Output = ()>,
) {
    let (member, mut arrivals) = lanes.join();
    let watches = Rc::clone(host.watches());
    let lane = Lane { host, lanes, member };
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(socket) => lane.place(socket),
                // No descriptors left, most often: the ones in use come back, so accepting goes on shortly.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(arrival) = arrivals.recv() => lane.arrive(arrival),
            _ = tick.tick(), if !watches.is_empty() => watches.sweep(),
            () = &mut stop => break,
        }
    }
    lane.lanes.leave(&lane.member);
    // What other lanes have sent here is accepted already.
    arrivals.close();
    while let Ok(arrival) = arrivals.try_recv() {
        lane.arrive(arrival);
    }
    watches.stop();
    // What has begun keeps its deadlines.
    tokio::task::spawn_local(async move {
        while !watches.is_empty() {
            tick.tick().await;
            watches.sweep();
        }
    });
}

struct Lane<H> {
    host: Rc<H>,
    lanes: Arc<Lanes>,
    member: Arc<Member>,
}

impl<H: Host> Lane<H> {
    /// Gives a new connection to the lane that has the fewest.
    fn place(&self, socket: Socket) {
        match self.lanes.place(&self.member) {
            Place::Full => self.turn_away(socket),
            Place::Here => self.admit(socket),
            Place::There(other) => {
                // A lane that is too busy to take it, or gone, leaves it to this one.
                let Ok(arrival) = socket.leave_runtime() else { return other.leave() };
                if let Err(arrival) = other.send(arrival) {
                    other.leave();
                    self.member.enter();
                    self.arrive(arrival);
                }
            }
        }
    }

    /// Takes a connection that was counted as this lane's.
    fn arrive(&self, arrival: Arrival) {
        match Socket::enter_runtime(arrival) {
            Ok(socket) => self.admit(socket),
            Err(_) => self.member.leave(),
        }
    }

    fn admit(&self, socket: Socket) {
        let accounts = self.host.accounts();
        let bytes = connection_bytes(self.host.tls().is_some());
        // Where nearly everything is held, those who are here already need what is left.
        let admitted = accounts.connections.admits(bytes).then(|| accounts.connections.try_lease(bytes));
        let Some(Ok(lease)) = admitted else {
            self.member.leave();
            return self.turn_away(socket);
        };
        let slot = Slot { member: Arc::clone(&self.member), _lease: lease };
        let stream = match (socket, self.host.tls()) {
            (Socket::Tcp(stream), tls) => {
                let _nodelay = stream.set_nodelay(true);
                match tls {
                    None => Stream::plain(stream),
                    Some(tls) => match tls.session() {
                        Some(session) => Stream::tls(stream, session, &accounts.active),
                        None => return,
                    },
                }
            }
            (socket @ Socket::Unix(_), _) => socket.plain(),
        };
        let watch = self.host.watches().watch();
        Rc::clone(&self.host).run(stream, watch, slot);
    }

    fn turn_away(&self, socket: Socket) {
        // A TLS client could not read the answer.
        if self.host.tls().is_none() {
            Rc::clone(&self.host).turn_away(socket.plain());
        }
    }
}
