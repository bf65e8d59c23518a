//! Does one work: `hotpath NAME` once to warm up and then [`TIMES`] times inside of [`measured`], which is what
//! callgrind counts. Without a name it lists them.

use std::process::ExitCode;

/// How often a work is done while it is counted.
const TIMES: u32 = 10;

fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        for (name, _) in hotpath::ALL {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    };
    let Some((_, make)) = hotpath::ALL.iter().find(|(known, _)| *known == name) else {
        eprintln!("hotpath: there is no work \"{name}\"");
        return ExitCode::from(2);
    };
    let mut work = make();
    (work.run)();
    measured(&mut work);
    ExitCode::SUCCESS
}

/// What is counted. Callgrind finds it by its name.
#[inline(never)]
fn measured(work: &mut hotpath::Work) {
    for _ in 0..TIMES {
        (work.run)();
    }
}
