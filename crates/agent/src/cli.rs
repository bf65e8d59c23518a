//! The command line: Fluent Bit's flags and long names. Plugins named here come before those of the file, in
//! the order of the arguments; `-p`, `-m` and `-t` act on the last one.

use std::path::PathBuf;

use lexopt::prelude::*;
use options::{Entry, Pos, Section, Text};

use crate::help;

/// What to do.
pub enum Command {
    /// Run the agent.
    Run(Options),
    /// Print this and end.
    Print(String),
}

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// `-c`: the configuration.
    pub config: Option<PathBuf>,
    /// `-D`: check the configuration and end.
    pub dry_run: bool,
    /// `-v`, as often as it was given.
    pub verbose: u8,
    /// `-q`: no log.
    pub quiet: bool,
    /// `-w`: the working directory.
    pub workdir: Option<PathBuf>,
    /// Options of the service section.
    pub service: Section,
    /// `-i`, `-F`, `-o` and `-C` with what belongs to them, in order.
    pub plugins: Vec<Section>,
    /// Flags of Fluent Bit that have no effect here.
    pub ignored: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            config: None,
            dry_run: false,
            verbose: 0,
            quiet: false,
            workdir: None,
            service: Section::new("service", Pos::whole(PLACE)),
            plugins: Vec::new(),
            ignored: Vec::new(),
        }
    }
}

/// Where the position of something on the command line is; the line is the number of the argument.
const PLACE: &str = "command line";

/// The flags that take a value, separated by blanks.
const WITH_VALUE: &str = "c config b storage_path f flush l log_file w workdir L http_listen P port http_port \
                          R parser i input F filter o output C custom r processor m match t tag p prop \
                          e plugin T sp-task s coro_stack_size trace trace-input trace-output \
                          trace-output-property";

const HELP: &str = "\
Usage: weir [-c FILE] [OPTION ...]

Takes telemetry in, transforms and delivers it, within a fixed amount of memory.
Reads Fluent Bit's configuration, classic or YAML (by the extension .yaml or .yml), and takes its flags.

  -c, --config FILE         the configuration
  -D, --dry-run             check the configuration, print what memory it reserves, and end
  -i, --input NAME          add an input
  -F, --filter NAME         add a filter
  -o, --output NAME         add an output
  -p, --prop KEY=VALUE      set an option of the last plugin
  -t, --tag TAG             the tag of the last input
  -m, --match PATTERN       the tags that the last filter or output takes
  -f, --flush SECONDS       how often records go to the outputs (default: 1)
  -R, --parser FILE         a file of parsers; may be repeated
  -b, --storage_path PATH   where filesystem storage lives
  -l, --log_file FILE       append the log to a file
  -v, --verbose             log more; once more for still more
  -q, --quiet               log nothing
  -w, --workdir FOLDER      the working directory
  -d, --daemon              run in the background
  -H, --http                serve the monitoring API
  -L, --http_listen ADDR    its address (default: 0.0.0.0)
  -P, --port PORT           its port (default: 2020)
  -Y, --enable-hot-reload   let SIGHUP and the API reload the configuration
  -J, --help-json           all options of all plugins as JSON; of one, after -i, -F, -o or -r
  -V, --version             print the version and end
  -h, --help                print this and end; after -i, -F, -o or -r: the options of that plugin

Examples:
  weir -i dummy -o stdout                        records to the screen
  weir -c /etc/weir/weir.yaml --dry-run          check a configuration
  weir -i http -h                                the options of the http input
  weir -i http -p port=9880 -t app -o stdout -p format=json_lines -m 'app*' -f 0.5

Signals: SIGTERM, SIGINT and SIGQUIT stop gracefully, SIGHUP reloads (with -Y), SIGCONT prints a dump.

";

/// Reads the arguments of the process.
///
/// # Errors
/// One line that says what is wrong and what to do.
pub fn parse() -> Result<Command, String> {
    Arguments::default().parse(lexopt::Parser::from_env())
}

#[derive(Default)]
struct Arguments {
    options: Options,
    /// The number of the argument that is read.
    number: u32,
    /// `-r`, which only its help is for.
    processor: Option<Section>,
}

impl Arguments {
    fn parse(mut self, mut parser: lexopt::Parser) -> Result<Command, String> {
        while let Some(argument) = parser.next().map_err(explain)? {
            self.number += 1;
            let argument = match argument {
                Short(letter) => letter.to_string(),
                Long(name) => name.to_owned(),
                Value(value) => return Err(explain(Value(value).unexpected())),
            };
            if argument == "reference" {
                let kind = parser.value().map_err(explain)?.string().map_err(explain)?;
                return help::reference(&kind).map(Command::Print);
            }
            if let Some(text) = self.print(&argument)? {
                return Ok(Command::Print(text));
            }
            if !self.flag(&argument) && !self.with_value(&argument, &mut parser)? {
                let dash = if argument.chars().count() == 1 { "-" } else { "--" };
                return Err(format!("unknown option {dash}{argument} (weir --help lists the options)"));
            }
        }
        let Options { config, plugins, .. } = &self.options;
        if config.is_none() && plugins.is_empty() {
            return Err("nothing to run: name a configuration (weir -c FILE) or plugins \
                        (weir -i dummy -o stdout); weir --help lists the options"
                .to_owned());
        }
        Ok(Command::Run(self.options))
    }

    /// Flags that print and end.
    fn print(&self, argument: &str) -> Result<Option<String>, String> {
        let last = self.processor.as_ref().or(self.options.plugins.last());
        Ok(Some(match argument {
            "V" | "version" => {
                format!("weir v{}\nreads configurations of Fluent Bit v5.1.1\n", env!("CARGO_PKG_VERSION"))
            }
            "h" | "help" => match last {
                Some(section) => help::plugin(section)?,
                None => format!("{HELP}{}", help::plugins()),
            },
            "J" | "help-json" => match last {
                Some(section) => help::plugin_schema(section)?,
                None => help::schema(),
            },
            _ => return Ok(None),
        }))
    }

    /// Flags without a value; false if it is none.
    fn flag(&mut self, argument: &str) -> bool {
        let service = |arguments: &mut Self, key: &str, value: &str| arguments.service(key, value);
        match argument {
            "D" | "dry-run" => self.options.dry_run = true,
            "v" | "verbose" => self.options.verbose = self.options.verbose.saturating_add(1),
            "q" | "quiet" => self.options.quiet = true,
            "d" | "daemon" => service(self, "daemon", "on"),
            "H" | "http" | "http_server" => service(self, "http_server", "on"),
            "Y" | "enable-hot-reload" => service(self, "hot_reload", "on"),
            "W" | "disable-thread-safety-on-hot-reload" => {
                self.ignored("-W: a reload waits for nothing, and gives nothing up");
            }
            "supervisor" => self.ignored("--supervisor: let systemd or the container's runtime restart weir"),
            "enable-fips" => self.ignored("--enable-fips: the TLS library has no FIPS mode here"),
            "S" | "sosreport" => {
                self.ignored("-S: the monitoring API has /api/v1/memory and /api/v2/metrics")
            }
            "Z" | "enable-chunk-trace" => self.ignored("-Z: chunks cannot be traced here"),
            _ => return false,
        }
        true
    }

    /// Flags with a value; false if it is none.
    fn with_value(&mut self, argument: &str, parser: &mut lexopt::Parser) -> Result<bool, String> {
        if !WITH_VALUE.split_whitespace().any(|known| known == argument) {
            return Ok(false);
        }
        let value = parser.value().map_err(explain)?;
        self.number += 1;
        let text = value.string().map_err(explain)?;
        match argument {
            "c" | "config" => self.options.config = Some(PathBuf::from(text)),
            "w" | "workdir" => self.options.workdir = Some(PathBuf::from(text)),
            "b" | "storage_path" => self.service("storage.path", &text),
            "f" | "flush" => self.service("flush", &text),
            "l" | "log_file" => self.service("log_file", &text),
            "L" | "http_listen" => self.service("http_listen", &text),
            "P" | "port" | "http_port" => self.service("http_port", &text),
            "R" | "parser" => self.service("parsers_file", &text),
            "i" | "input" => self.plugin("input", &text),
            "F" | "filter" => self.plugin("filter", &text),
            "o" | "output" => self.plugin("output", &text),
            "C" | "custom" => self.plugin("custom", &text),
            "r" | "processor" => {
                let mut section = Section::new("processor", self.pos());
                section.entries.push(self.entry("name", &text));
                self.processor = Some(section);
            }
            "m" | "match" => self.option("match", &text, &["filter", "output"])?,
            "t" | "tag" => self.option("tag", &text, &["input"])?,
            "p" | "prop" => match text.split_once('=') {
                Some((key, value)) => self.option(key.trim(), value.trim(), &[])?,
                None => return Err(format!("-p {text}: write -p key=value")),
            },
            "e" | "plugin" => {
                return Err(format!("-e {text}: plugins in shared libraries are not available"));
            }
            "T" | "sp-task" => return Err("-T: the stream processor is not available".to_owned()),
            "s" | "coro_stack_size" => self.ignored("-s: there are no coroutines here"),
            _ => self.ignored(&format!("--{argument}: chunks cannot be traced here")),
        }
        Ok(true)
    }

    fn pos(&self) -> Pos {
        Pos::new(PLACE, self.number, 1)
    }

    fn entry(&self, key: &str, value: &str) -> Entry {
        Entry { key: Text::new(options::snake_case(key), self.pos()), value: Text::new(value, self.pos()) }
    }

    fn service(&mut self, key: &str, value: &str) {
        let entry = self.entry(key, value);
        if key != "parsers_file" {
            // The last one holds, as with any command.
            self.options.service.entries.retain(|other| other.key.value != entry.key.value);
        }
        self.options.service.entries.push(entry);
    }

    fn plugin(&mut self, kind: &str, name: &str) {
        let mut section = Section::new(kind, self.pos());
        section.entries.push(self.entry("name", name));
        self.options.plugins.push(section);
        self.processor = None;
    }

    fn option(&mut self, key: &str, value: &str, kinds: &[&str]) -> Result<(), String> {
        let entry = self.entry(key, value);
        match self.options.plugins.last_mut() {
            Some(section) if kinds.is_empty() || kinds.contains(&section.kind.as_str()) => {
                section.entries.push(entry);
                Ok(())
            }
            Some(section) => Err(format!(
                "{key} {value}: it belongs to {}, not to an {}",
                kinds.join(" or "),
                section.kind
            )),
            None => Err(format!("{key} {value}: name a plugin before it, with -i, -F or -o")),
        }
    }

    fn ignored(&mut self, what: &str) {
        self.options.ignored.push(what.to_owned());
    }
}

fn explain(error: lexopt::Error) -> String {
    format!("{error} (weir --help lists the options)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Command, String> {
        Arguments::default().parse(lexopt::Parser::from_args(arguments))
    }

    fn options(arguments: &[&str]) -> Options {
        match parse(arguments) {
            Ok(Command::Run(options)) => options,
            _ => panic!("{arguments:?}"),
        }
    }

    #[test]
    fn flags_may_be_short_long_or_together() {
        for arguments in [&["-c", "a.conf", "-Dvv"][..], &["--config=a.conf", "--dry-run", "-v", "--verbose"]]
        {
            let options = options(arguments);
            assert_eq!(options.config, Some(PathBuf::from("a.conf")));
            assert_eq!((options.dry_run, options.verbose), (true, 2));
        }
    }

    #[test]
    fn options_go_to_the_plugin_before_them() {
        let options = options(&[
            "-i",
            "http",
            "-p",
            "port=1",
            "-t",
            "app",
            "-F",
            "grep",
            "-m",
            "*",
            "-o",
            "stdout",
            "-p",
            "match=a=b",
            "-f",
            "0.5",
            "-H",
            "-P",
            "2021",
        ]);
        let shown = |section: &Section| {
            let pairs = section.entries.iter().map(|e| format!("{}={}", e.key.value, e.value.value));
            format!("{}: {}", section.kind, pairs.collect::<Vec<_>>().join(" "))
        };
        let plugins: Vec<String> = options.plugins.iter().map(shown).collect();
        assert_eq!(
            plugins,
            ["input: name=http port=1 tag=app", "filter: name=grep match=*", "output: name=stdout match=a=b"]
        );
        assert_eq!(shown(&options.service), "service: flush=0.5 http_server=on http_port=2021");
    }

    #[test]
    fn what_is_wrong_with_the_arguments_is_said_with_the_way_out() {
        for arguments in [
            &[][..],
            &["-c"],
            &["--frob"],
            &["stray"],
            &["-p", "a=b"],
            &["-i", "dummy", "-m", "*"],
            &["-i", "dummy", "-p", "novalue"],
            &["-e", "x.so"],
        ] {
            let Err(error) = parse(arguments) else { panic!("{arguments:?} was taken") };
            assert!(!error.is_empty(), "{error}");
        }
    }
}
