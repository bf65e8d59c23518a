//! `sysinfo`: appends what system the agent runs on.
//!
//! ```text
//! [FILTER]
//!     name          sysinfo
//!     match         *
//!     hostname_key  hostname
//!     os_name_key   os
//! ```
//!
//! Each option names the key of an entry; without it the entry is not there. All values are looked up when the
//! agent starts.

use engine::{Filter, FilterDef, Setup};
use event::{Tag, Window};
use options::{Options, Reader};

use crate::words::{Pair, Word};

/// The registry's entry.
pub static FILTER: FilterDef = FilterDef {
    name: "sysinfo",
    about: "appends what system the agent runs on",
    specs: SysinfoOptions::specs,
    open,
};

#[derive(Debug, Options)]
struct SysinfoOptions {
    /// Key of the agent's version.
    fluentbit_version_key: Option<Word>,
    /// Key of the system's name, such as linux.
    os_name_key: Option<Word>,
    /// Key of the host's name.
    hostname_key: Option<Word>,
    /// Key of the system's version.
    os_version_key: Option<Word>,
    /// Key of the kernel's release.
    kernel_version_key: Option<Word>,
}

fn open(reader: &mut Reader<'_>, _setup: &Setup) -> Option<Box<dyn Filter>> {
    let options = SysinfoOptions::read(reader)?;
    let kernel = |name| {
        // Files of the kernel with one short line.
        #[allow(clippy::disallowed_methods)]
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
        text.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
    };
    let values = [
        (options.fluentbit_version_key, env!("CARGO_PKG_VERSION").to_owned()),
        (options.os_name_key, std::env::consts::OS.to_owned()),
        (options.hostname_key, kernel("hostname")),
        (options.os_version_key, kernel("version")),
        (options.kernel_version_key, kernel("osrelease")),
    ];
    let pairs = values.into_iter().filter_map(|(key, value)| Some(Pair(key?, Word::new(value))));
    Some(Box::new(Sysinfo(pairs.collect())))
}

#[derive(Clone)]
struct Sysinfo(Vec<Pair>);

impl Filter for Sysinfo {
    fn logs(&mut self, _tag: &Tag, window: &mut Window<'_>) {
        for record in &mut window.records {
            for pair in &self.0 {
                record.body_mut().push(pair.entry());
            }
        }
    }

    fn for_lane(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}
