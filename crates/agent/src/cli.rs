//! The command line: Fluent Bit's flags, as far as they exist here.

use std::path::PathBuf;

use lexopt::prelude::*;

/// What to do.
pub enum Command {
    /// Run the agent.
    Run(Options),
    /// Print this and end.
    Print(String),
}

/// How to run.
#[derive(Debug, Default)]
pub struct Options {
    /// `-c`: the configuration.
    pub config: PathBuf,
    /// `-D`: check the configuration and end.
    pub dry_run: bool,
    /// `-v`, as often as it was given.
    pub verbose: u8,
    /// `-q`: no log.
    pub quiet: bool,
}

const HELP: &str = "\
Usage: weir -c FILE [OPTION ...]

Takes logs in, transforms and delivers them, within a fixed amount of memory.
Reads Fluent Bit's configuration, classic or YAML (by the extension .yaml or .yml).

  -c, --config FILE   the configuration
  -D, --dry-run       check the configuration, print what memory it reserves, and end
  -v, --verbose       log more; once more for still more
  -q, --quiet         log nothing
  -V, --version       print the version and end
  -h, --help          print this and end

Example:
  weir -c /etc/weir/weir.yaml --dry-run
";

/// Reads the arguments of the process.
///
/// # Errors
/// One line that says what is wrong and what to do.
pub fn parse() -> Result<Command, String> {
    parse_from(lexopt::Parser::from_env())
}

fn parse_from(mut parser: lexopt::Parser) -> Result<Command, String> {
    let mut options = Options::default();
    let mut config = None;
    while let Some(argument) = parser.next().map_err(explain)? {
        match argument {
            Short('c') | Long("config") => config = Some(PathBuf::from(parser.value().map_err(explain)?)),
            Short('D') | Long("dry-run") => options.dry_run = true,
            Short('v') | Long("verbose") => options.verbose = options.verbose.saturating_add(1),
            Short('q') | Long("quiet") => options.quiet = true,
            Short('V') | Long("version") => {
                let version = env!("CARGO_PKG_VERSION");
                return Ok(Command::Print(format!(
                    "weir v{version}\nreads configurations of Fluent Bit v5.1.1\n"
                )));
            }
            Short('h') | Long("help") => return Ok(Command::Print(HELP.to_owned())),
            other => return Err(explain(other.unexpected())),
        }
    }
    options.config =
        config.ok_or("no configuration given: run weir -c FILE (weir --help lists the options)")?;
    Ok(Command::Run(options))
}

fn explain(error: lexopt::Error) -> String {
    format!("{error} (weir --help lists the options)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Command, String> {
        parse_from(lexopt::Parser::from_args(arguments))
    }

    #[test]
    fn flags_may_be_short_long_or_together() {
        for arguments in [&["-c", "a.conf", "-Dvv"][..], &["--config=a.conf", "--dry-run", "-v", "--verbose"]]
        {
            let Ok(Command::Run(options)) = parse(arguments) else { panic!("{arguments:?}") };
            assert_eq!(
                (options.config.to_str(), options.dry_run, options.verbose),
                (Some("a.conf"), true, 2)
            );
        }
    }

    #[test]
    fn what_is_wrong_with_the_arguments_is_said_with_the_way_out() {
        for arguments in [&[][..], &["-c"], &["--frob"], &["stray"]] {
            let Err(error) = parse(arguments) else { panic!("{arguments:?} was taken") };
            assert!(error.contains("weir"), "{error}");
        }
    }
}
