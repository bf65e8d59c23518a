//! The zoo with the allocator of the C library.

use std::process::ExitCode;

fn main() -> ExitCode {
    zoo::main()
}
