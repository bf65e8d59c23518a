//! What a program is made of, as far as its files tell: which allocator, which runtime.

use std::path::{Path, PathBuf};

use super::capture::Program;
use super::elf::Elf;
use super::look;

/// Of a command's processes the one that listens at a port, or the one with the most memory.
pub fn listener(pid: u32, port: u16) -> u32 {
    let pids = look::tree(pid);
    let wanted = format!(":{port:04X}");
    let mut sockets = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = look::read(&format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // Local address, state (0A listens), and the number of the socket.
            if let [_, local, _, "0A", ..] = fields.as_slice()
                && local.ends_with(&wanted)
                && let Some(number) = fields.get(9)
            {
                sockets.push(format!("socket:[{number}]"));
            }
        }
    }
    let listens = |pid: &&u32| {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        links.any(|link| sockets.iter().any(|socket| link.to_string_lossy() == *socket))
    };
    let size = |pid: &u32| look::look(&[*pid]).map_or(0, |look| look.rss);
    // Of a parent and the children that inherited the socket, the one that works is the last.
    let found = pids.iter().rfind(listens).copied();
    found.or_else(|| pids.iter().copied().max_by_key(size)).unwrap_or(pid)
}

/// The file of a program, as the process itself would open it.
pub fn executable(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/exe"))
}

/// A mapped file whose name begins so: where it was loaded, and where it is.
pub fn library(pid: u32, name: &str) -> Option<(u64, PathBuf)> {
    let maps = look::read(&format!("/proc/{pid}/maps"))?;
    let line = maps.lines().find(|line| {
        let file = line.rsplit('/').next().unwrap_or_default();
        line.contains('/') && file.starts_with(name)
    })?;
    let start = u64::from_str_radix(line.split('-').next()?, 16).ok()?;
    let path = &line[line.find('/')?..];
    Some((start, PathBuf::from(format!("/proc/{pid}/root{path}"))))
}

/// Where the program itself was loaded.
pub fn base(pid: u32) -> Option<u64> {
    let target = std::fs::read_link(executable(pid)).ok()?;
    let maps = look::read(&format!("/proc/{pid}/maps"))?;
    let line = maps.lines().find(|line| line.ends_with(&*target.to_string_lossy()))?;
    u64::from_str_radix(line.split('-').next()?, 16).ok()
}

/// The names under which jemalloc is asked; the prefix depends on how it was built.
pub const JEMALLOC: [&str; 3] = ["mallctl", "_rjem_mallctl", "je_mallctl"];

/// Looks at a process.
pub fn of(pid: u32) -> Program {
    let elf = Elf::read(&executable(pid)).ok();
    let has = |name: &str| elf.as_ref().is_some_and(|elf| elf.function(name).is_some());
    let maps = look::read(&format!("/proc/{pid}/maps")).unwrap_or_default();
    let allocator = if JEMALLOC.iter().any(|name| has(name)) || maps.contains("/libjemalloc") {
        "jemalloc"
    } else if has("mi_malloc") || has("_mi_malloc_generic") || maps.contains("/libmimalloc") {
        "mimalloc"
    } else if has("tc_malloc") || maps.contains("/libtcmalloc") {
        "tcmalloc"
    } else if maps.contains("/libc.so.6") || maps.contains("/libc-2.") {
        "glibc"
    } else if maps.contains("/ld-musl") {
        "musl"
    } else {
        "unknown"
    };
    let name = std::fs::read_link(executable(pid)).unwrap_or_default();
    let name = name.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let is_go = elf.is_some_and(|elf| elf.sections.iter().any(|name| name == ".gopclntab"));
    let runtime = match name.as_str() {
        name if name.starts_with("node") || name.starts_with("deno") || name.starts_with("bun") => "node",
        name if name.starts_with("java") => "java",
        name if name.starts_with("python") || name.starts_with("pypy") => "python",
        name if name.starts_with("dotnet") || maps.contains("libcoreclr") => "dotnet",
        name if name.starts_with("ruby") => "ruby",
        name if name.starts_with("php") => "php",
        name if name.starts_with("beam") => "beam",
        _ if is_go => "go",
        _ => "native",
    };
    let allocator = if is_go { "go" } else { allocator };
    Program { allocator: allocator.to_owned(), runtime: runtime.to_owned(), ..Program::default() }
}

/// Whether the runtime collects garbage when it likes, and so holds some that nobody needs.
pub fn collects(program: &Program) -> bool {
    !program.collected && !matches!(program.runtime.as_str(), "native" | "python" | "php")
}

/// Functions of the program or of a library it maps.
pub fn function(pid: u32, names: &[&str], library_name: Option<&str>) -> Option<u64> {
    let (base, path) = match library_name {
        Some(name) => library(pid, name)?,
        None => (base(pid)?, executable(pid)),
    };
    let elf = Elf::read(Path::new(&path)).ok()?;
    let address = names.iter().find_map(|name| elf.function(name))?;
    Some(if elf.movable { base + address } else { address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_uses_the_allocator_of_the_c_library_and_collects_nothing() {
        let program = of(std::process::id());
        assert_eq!((program.allocator.as_str(), program.runtime.as_str()), ("glibc", "native"));
        assert!(!collects(&program));
        let found = function(std::process::id(), &["malloc_trim"], Some("libc.so.6"));
        assert_eq!(found, Some(libc::malloc_trim as *const () as u64));
    }
}
