//! A network of the bench's own: nothing but a loopback interface, which also has the address of a machine's metadata
//! service.
//!
//! Fluent Bit's `azure_kusto` gets its tokens from Azure's own login or from that address, port 80, and neither can be
//! configured. Here kusto-local is what it finds there. All agents of a run are measured in the same network.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

/// Where each machine of Azure has its metadata service.
const METADATA_SERVICE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);

/// A network in which the metadata service can be played.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    pub metadata_service: SocketAddr,
}

impl Network {
    /// Leaves the machine's network for a new one, with the calling thread and all that it starts. Only root may.
    pub fn enter() -> io::Result<Network> {
        // SAFETY: it changes the calling thread's network and touches no memory.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
            return Err(io::Error::last_os_error());
        }
        bring_up()?;
        Ok(Network { metadata_service: METADATA_SERVICE })
    }
}

/// Starts the loopback interface, and gives it the address.
fn bring_up() -> io::Result<()> {
    // Any socket serves to reach the interfaces.
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let std::net::IpAddr::V4(address) = METADATA_SERVICE.ip() else {
        return Err(io::Error::other("the metadata service has an address of version 4"));
    };
    let mut loopback = interface(b"lo");
    loopback.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_LOOPBACK | libc::IFF_RUNNING) as libc::c_short;
    ask(&socket, libc::SIOCSIFFLAGS, &loopback)?;
    let mut more = interface(b"lo:azure");
    more.ifr_ifru.ifru_addr = internet(address);
    ask(&socket, libc::SIOCSIFADDR, &more)
}

fn interface(name: &[u8]) -> libc::ifreq {
    // SAFETY: a request of zeros has an empty name and address.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    request
}

/// An address as interfaces are given one.
fn internet(address: Ipv4Addr) -> libc::sockaddr {
    // The first two bytes of the data are a port.
    let mut data = [0; 14];
    for (to, from) in data[2..].iter_mut().zip(address.octets()) {
        *to = from as libc::c_char;
    }
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}

fn ask(socket: &std::net::UdpSocket, what: libc::Ioctl, request: &libc::ifreq) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    // SAFETY: the kernel reads the request, which lives during the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), what, std::ptr::from_ref(request)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_metadata_service_can_be_played_where_root_runs_the_bench() {
        // On a thread of its own, which ends with the network.
        let played = std::thread::spawn(|| {
            let network = Network::enter()?;
            let listener = TcpListener::bind(network.metadata_service)?;
            let _caller = TcpStream::connect(network.metadata_service)?;
            listener.accept().map(drop)
        });
        match played.join().unwrap() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            played => played.unwrap(),
        }
    }
}
