//! Where a program's functions are: the symbol tables of 64-bit little-endian ELF files.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes of symbols and names that are read at most.
const LARGEST: u64 = 512 << 20;

/// Kinds of sections.
const SYMBOLS: u32 = 2;
const DYNAMIC_SYMBOLS: u32 = 11;

struct Section {
    name: u32,
    kind: u32,
    offset: u64,
    size: u64,
    link: u32,
}

/// A file's sections and symbols.
pub struct Elf {
    /// The names of its sections.
    pub sections: Vec<String>,
    tables: Vec<(Vec<u8>, Vec<u8>)>,
    /// Its addresses are added to where it was loaded.
    pub movable: bool,
}

fn wrong() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "no ELF file of this machine")
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let bytes = bytes.get(at..at + length).unwrap_or_default();
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Elf {
    /// Reads a file.
    ///
    /// # Errors
    /// The system's, or it is no such file.
    pub fn read(path: &Path) -> io::Result<Elf> {
        let mut file = File::open(path)?;
        let mut head = [0; 64];
        file.read_exact(&mut head)?;
        if head[..6] != *b"\x7fELF\x02\x01" {
            return Err(wrong());
        }
        let (offset, size, count) = (number(&head, 40, 8), number(&head, 58, 2), number(&head, 60, 2));
        let table = part(&mut file, offset, size * count)?;
        let sections: Vec<Section> = table
            .chunks_exact(size.max(1) as usize)
            .map(|entry| Section {
                name: number(entry, 0, 4) as u32,
                kind: number(entry, 4, 4) as u32,
                offset: number(entry, 24, 8),
                size: number(entry, 32, 8),
                link: number(entry, 40, 4) as u32,
            })
            .collect();
        let names = sections.get(number(&head, 62, 2) as usize).ok_or_else(wrong)?;
        let names = part(&mut file, names.offset, names.size)?;
        let mut tables = Vec::new();
        for section in sections.iter().filter(|section| matches!(section.kind, SYMBOLS | DYNAMIC_SYMBOLS)) {
            let strings = sections.get(section.link as usize).ok_or_else(wrong)?;
            let symbols = part(&mut file, section.offset, section.size)?;
            tables.push((symbols, part(&mut file, strings.offset, strings.size)?));
        }
        let sections = sections.iter().map(|section| text(&names, section.name).to_owned()).collect();
        Ok(Elf { sections, tables, movable: number(&head, 16, 2) == 3 })
    }

    /// Where a function is.
    pub fn function(&self, name: &str) -> Option<u64> {
        self.tables.iter().find_map(|(symbols, strings)| {
            let entry = symbols.chunks_exact(24).find(|entry| {
                let defined = number(entry, 6, 2) != 0 && entry[4] & 15 == 2;
                defined && text(strings, number(entry, 0, 4) as u32) == name
            })?;
            Some(number(entry, 8, 8))
        })
    }
}

fn part(file: &mut File, offset: u64, size: u64) -> io::Result<Vec<u8>> {
    if size > LARGEST {
        return Err(wrong());
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = vec![0; size as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn text(strings: &[u8], at: u32) -> &str {
    let rest = strings.get(at as usize..).unwrap_or_default();
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    std::str::from_utf8(&rest[..end]).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[unsafe(no_mangle)]
    extern "C" fn leaklab_is_here() {}

    #[test]
    fn functions_of_this_program_are_found() {
        std::hint::black_box(leaklab_is_here as extern "C" fn());
        let elf = Elf::read(Path::new("/proc/self/exe")).unwrap();
        assert!(elf.function("leaklab_is_here").is_some());
        assert!(elf.function("leaklab_is_not_here").is_none());
        assert!(elf.sections.iter().any(|name| name == ".text"));
    }
}
