//! The functions that every record goes through, each alone: what `cargo bench -p hotpath` times, and whose
//! instructions `cargo x ratchet` counts.
//!
//! A work is made once, with all that it needs, and then done again and again; each time is the same, so that
//! counts of instructions repeat.

mod work;

pub use work::{ALL, Work};

/// Bytes of a page, as an agent has them by default.
pub const PAGE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_work_can_be_done_again_and_again() {
        for (name, make) in ALL {
            let mut work = make();
            assert!(work.bytes > 0, "{name}");
            for _ in 0..3 {
                (work.run)();
            }
        }
    }
}
