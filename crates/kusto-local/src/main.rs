//! The command line of `kusto-local`.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use kusto_local::{Metadata, Options, Server};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
A local Azure Data Explorer (Kusto) ingestion endpoint.

Usage: kusto-local --dir DIR [OPTIONS]

  --dir DIR              folder for all state; made if missing
  --listen ADDR          IP:PORT or PORT (on 127.0.0.1); port 0 picks a free one [127.0.0.1:0]
  --tenant ID            tenant clients log in to [made up once per folder]
  --client-id ID         application id [made up once per folder]
  --client-secret TEXT   the application's secret [made up once per folder]
  --database NAME        name of the database [local]
  --table NAME           table made at the start: tag:string, timestamp:datetime, log:dynamic [Logs]
  --plain-http           HTTP instead of HTTPS
  --engine ADDR          listen there for queries and streaming ingestion only, as in Azure
  --imds ADDR            listen there, without TLS, as a machine's metadata service: tokens for managed identities
  --streaming            the table takes streaming ingestion
  --batching-time MS     how long messages wait for others before they are ingested [0]
  --azurite URL          storage, such as http://127.0.0.1:10000/devstoreaccount1, in place of the own one
  --azurite-key KEY      the key of its account [the emulator's]
  --auth-metadata HOW    full, missing (404) or null [full]
  --token-lifetime SECS  how long an access token holds [3599]
  --sas-lifetime SECS    how long signatures and identity tokens hold [43200]
  --short-sas            signatures as with an account's key: short enough for clients that cut them
  --help                 this text

Prints key=value lines for the client, then `ready`. Stops on SIGTERM or SIGINT.
";

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("kusto-local: {message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kusto-local: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before `ready`, so that a signal right after it is not lost.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let server = Server::start(options)?;
        let mut out = std::io::stdout().lock();
        write!(out, "{}", server.endpoint())?;
        writeln!(out, "ready")?;
        out.flush()?;
        drop(out);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        server.shutdown();
        Ok(())
    })
}

/// Reads the arguments; None asks for the usage.
fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options::new("");
    let mut azurite_key = None;
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let (name, inline) = match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (argument, None),
        };
        if matches!(name.as_str(), "--help" | "-h") {
            return Ok(None);
        }
        if name == "--plain-http" {
            options.plain_http = true;
            continue;
        }
        if name == "--streaming" {
            options.streaming = true;
            continue;
        }
        if name == "--short-sas" {
            options.short_sas = true;
            continue;
        }
        let mut value =
            || inline.clone().or_else(|| arguments.next()).ok_or_else(|| format!("{name} needs a value"));
        match name.as_str() {
            "--dir" => options.dir = value()?.into(),
            "--listen" => options.listen = listen(&value()?)?,
            "--tenant" => options.tenant = Some(value()?),
            "--client-id" => options.client_id = Some(value()?),
            "--client-secret" => options.client_secret = Some(value()?),
            "--database" => options.database = value()?,
            "--table" => options.table = Some(value()?),
            "--engine" => options.engine = Some(listen(&value()?)?),
            "--imds" => options.imds = Some(listen(&value()?)?),
            "--batching-time" => options.batching_time = milliseconds(&value()?)?,
            "--azurite" => options.azurite = Some((value()?, azurite_key.take())),
            "--azurite-key" => match (&mut options.azurite, value()?) {
                (Some((_, key)), given) => *key = Some(given),
                (None, given) => azurite_key = Some(given),
            },
            "--auth-metadata" => options.metadata = metadata(&value()?)?,
            "--token-lifetime" => options.token_lifetime = seconds(&value()?)?,
            "--sas-lifetime" => options.sas_lifetime = seconds(&value()?)?,
            _ => return Err(format!("unknown option {name}")),
        }
    }
    if options.dir.as_os_str().is_empty() {
        return Err("--dir is missing".to_owned());
    }
    Ok(Some(options))
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    let port = text.parse::<u16>().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    port.or_else(|_| text.parse()).map_err(|_| format!("'{text}' is neither IP:PORT nor PORT"))
}

/// Within Kusto's own half of an hour.
fn milliseconds(text: &str) -> Result<Duration, String> {
    let milliseconds = text.parse().ok().filter(|milliseconds| *milliseconds <= 30 * 60 * 1000);
    let what = || format!("'{text}' is no number of milliseconds up to half an hour");
    milliseconds.map(Duration::from_millis).ok_or_else(what)
}

fn metadata(text: &str) -> Result<Metadata, String> {
    match text {
        "full" => Ok(Metadata::Full),
        "missing" => Ok(Metadata::Missing),
        "null" => Ok(Metadata::Null),
        _ => Err(format!("'{text}' is none of full, missing, null")),
    }
}

/// At most a year, so that an expiry is a date each client can read.
fn seconds(text: &str) -> Result<Duration, String> {
    let fits = |seconds: &u64| *seconds <= 365 * 24 * 3600;
    let seconds = text.parse().ok().filter(fits);
    seconds.map(Duration::from_secs).ok_or_else(|| format!("'{text}' is no number of seconds up to a year"))
}
