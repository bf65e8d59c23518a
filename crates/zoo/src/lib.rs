//! A zoo for the leak lab: a small HTTP server that does one thing wrong with memory, as its argument says, or the
//! same thing right.
//!
//! `zoo-system PORT DEFECT` uses the allocator of the C library, `zoo-jemalloc` jemalloc; `python/zoo.py` is the
//! same in Python. With `twin` as a third argument the server does the same work and releases what it took.

mod defect;
mod http1;
mod http2;

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;

pub use defect::{Defect, State};

/// Reads the command line and serves until it is killed.
pub fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (port, name, twin) = match words.as_slice() {
        [port, name] => (port, name, false),
        [port, name, "twin"] => (port, name, true),
        _ => return usage(),
    };
    let (Ok(port), Some(defect)) = (port.parse(), Defect::named(name)) else { return usage() };
    match serve(port, &Arc::new(State::new(defect, twin))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zoo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    let names: Vec<&str> = Defect::ALL.iter().map(|(name, _)| *name).collect();
    eprintln!("usage: zoo-... PORT {} [twin]", names.join("|"));
    ExitCode::from(2)
}

fn serve(port: u16, state: &Arc<State>) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    defect::start_timer(state);
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let state = Arc::clone(state);
        let thread = std::thread::Builder::new().stack_size(256 << 10);
        // Without a thread the connection is closed, which the client sees.
        let _started = thread.spawn(move || connection(stream, &state));
    }
    Ok(())
}

/// Serves a connection until it closes.
fn connection(mut stream: TcpStream, state: &State) -> io::Result<()> {
    stream.set_nodelay(true)?;
    state.opened();
    let mut first = [0; 4];
    stream.read_exact(&mut first)?;
    if first == *b"PRI " { http2::serve(stream, state) } else { http1::serve(stream, &first, state) }
}
