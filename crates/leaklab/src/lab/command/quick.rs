//! `leaklab quick`: memory after one request and after eleven. A first look: growth of ten times what the first
//! request took is a leak in the path of every request; anything else needs `run`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lexopt::prelude::*;

use super::{help, show};
use crate::lab::body::Payload;
use crate::lab::look;
use crate::lab::target::{self, Target};
use crate::lab::wire::{Protocol, Request, Wire};
use crate::lab::{figure, plan};
use crate::payload;

/// Pause behind each request, and the longest wait for anything.
const PAUSE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(20);
/// Requests behind the first.
const MORE: u32 = 10;
/// Growth below this is what any program needs to get warm.
const LEAST: f64 = (1 << 20) as f64;

/// Runs it. Exit status 1: it looks like a leak.
pub fn quick(parser: &mut lexopt::Parser) -> Result<u8, lexopt::Error> {
    let (mut cmd, mut pid, mut url, mut file) = (None, None, None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("cmd") => cmd = Some(parser.value()?.string()?),
            Long("pid") => pid = Some(parser.value()?.parse::<u32>()?),
            Long("url") => url = Some(parser.value()?.string()?),
            Long("payload") => file = Some(PathBuf::from(parser.value()?)),
            other => return help(other),
        }
    }
    let url = url.ok_or("--url says where it listens")?;
    let payload = match file {
        Some(file) => Payload::new(plan::payload(&file)?),
        None => Payload::new(payload::alert(4_900, 1).into_bytes()),
    };
    let (host, path) = target::split(&url)?;
    let all = if cmd.is_some() { target::free_addresses(host)? } else { target::addresses(host)? };
    let log = std::env::temp_dir().join(format!("leaklab-quick-{}.log", std::process::id()));
    let mut target = match (&cmd, pid) {
        (Some(command), None) => Some(Target::start(command, &log, None)?),
        (None, Some(_)) => None,
        _ => return Err("--cmd says what to start, or --pid what runs".into()),
    };
    let address = match &mut target {
        Some(target) => target.wait_for(&all, PATIENCE)?,
        None => *all.iter().find(|address| target::answers(**address)).ok_or("nothing listens there")?,
    };
    let root = target.as_ref().map_or(pid, |target| Some(target.pid())).unwrap_or_default();
    let rss = || look::look(&look::tree(root)).map(|look| look.rss as f64).ok_or("the process is gone");
    let send = || -> Result<u16, String> {
        let request = Request { method: "POST", path, host, body: payload.given(), token: None };
        let wire = Wire::open(Protocol::Http1, address, PATIENCE);
        let status = wire.and_then(|mut wire| wire.send(&request)).map_err(|error| error.to_string())?;
        std::thread::sleep(PAUSE);
        Ok(status)
    };
    let begun = Instant::now();
    std::thread::sleep(PAUSE);
    let before = rss()?;
    let status = send()?;
    let after_one = rss()?;
    for _ in 0..MORE {
        send()?;
    }
    let after_all = rss()?;
    drop(target);
    let _gone = std::fs::remove_file(&log);
    let (first, more) = (after_one - before, after_all - after_one);
    let leaks = more > LEAST && more > first * f64::from(MORE) * 0.5;
    let word = if leaks {
        "it grows with every request as with the first: a leak in the path of a request; `leaklab run` says of what kind"
    } else if more > LEAST {
        "it grew further, but less with each: `leaklab run` tells warming up from leaking"
    } else {
        "no growth behind the first request"
    };
    show(&format!(
        "RSS before {}, after 1 request {} (+{}), after {} {} (+{}); status {status}, {:.0} s\n{word}\n",
        figure::bytes(before),
        figure::bytes(after_one),
        figure::bytes(first),
        MORE + 1,
        figure::bytes(after_all),
        figure::bytes(more),
        begun.elapsed().as_secs_f64(),
    ))?;
    Ok(u8::from(leaks))
}
