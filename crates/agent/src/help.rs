//! What `-h` and `-J` print, from the tables of options: nothing here is written twice.

use std::fmt::Write;

use engine::common::{FilterCommon, InputCommon, OutputCommon, Service};
use options::{Kind, Options, Section, Spec, did_you_mean};
use serde_json::{Value, json};

/// A plugin with its options.
pub struct Plugin {
    /// `input`, `filter`, `output`, or `processor` for what is nothing else.
    pub kind: &'static str,
    /// Its name.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
    /// The options of every plugin of the kind.
    pub common: Vec<Spec>,
    /// Its own options.
    pub own: Vec<Spec>,
}

/// Every plugin, by kind and name.
pub fn all() -> Vec<Plugin> {
    fn specs(of: fn(&mut Vec<Spec>)) -> Vec<Spec> {
        let mut specs = Vec::new();
        of(&mut specs);
        specs
    }
    let plugin = |kind, name, about, common: fn(&mut Vec<Spec>), own: fn(&mut Vec<Spec>)| {
        let own = specs(own);
        let mut common = specs(common);
        // A plugin's own declaration of a common option is the one that counts.
        common.retain(|spec| spec.name != "name" && !own.iter().any(|other| other.name == spec.name));
        Plugin { kind, name, about, common, own }
    };
    let inputs = inputs::INPUTS.iter().map(|d| plugin("input", d.name, d.about, InputCommon::specs, d.specs));
    let filters =
        filters::FILTERS.iter().map(|d| plugin("filter", d.name, d.about, FilterCommon::specs, d.specs));
    let outputs =
        outputs::OUTPUTS.iter().map(|d| plugin("output", d.name, d.about, OutputCommon::specs, d.specs));
    let processors = filters::PROCESSORS
        .iter()
        .map(|d| plugin("processor", d.name, d.about, FilterCommon::specs, d.specs));
    let mut all: Vec<Plugin> = inputs.chain(filters).chain(processors).chain(outputs).collect();
    let order = |kind| ["input", "filter", "processor", "output"].iter().position(|other| *other == kind);
    all.sort_by_key(|plugin| (order(plugin.kind), plugin.name));
    all
}

/// The options of the service section.
pub fn service() -> Vec<Spec> {
    let mut specs = Vec::new();
    Service::specs(&mut specs);
    specs
}

/// The plugins, one a line.
pub fn plugins() -> String {
    let mut text = String::new();
    for (kind, title) in [
        ("input", "Inputs"),
        ("filter", "Filters (each is a processor too)"),
        ("processor", "Processors"),
        ("output", "Outputs"),
    ] {
        let _ = writeln!(text, "{title}");
        for plugin in all().iter().filter(|plugin| plugin.kind == kind) {
            let _ = writeln!(text, "  {:<24}  {}", plugin.name, plugin.about);
        }
        text.push('\n');
    }
    text
}

fn find(section: &Section) -> Result<Plugin, String> {
    let name = section.name().map(|name| name.value.clone()).unwrap_or_default();
    let mut of_kind = all();
    let kind = section.kind.as_str();
    of_kind.retain(|plugin| plugin.kind == kind || (kind == "processor" && plugin.kind == "filter"));
    let names: Vec<&str> = of_kind.iter().map(|plugin| plugin.name).collect();
    let near = did_you_mean(&name, names.iter().copied());
    let hint = near.unwrap_or_else(|| format!("available: {}", names.join(", ")));
    let found = of_kind.into_iter().find(|plugin| plugin.name.eq_ignore_ascii_case(&name));
    found.ok_or_else(|| format!("there is no {} \"{name}\"; {hint}", section.kind))
}

/// The options of the plugin that a section names.
///
/// # Errors
/// There is no such plugin.
pub fn plugin(section: &Section) -> Result<String, String> {
    let plugin = find(section)?;
    let mut text = format!("HELP\n{} {} plugin\n\nDESCRIPTION\n", plugin.name, plugin.kind);
    wrap(&mut text, "", plugin.about);
    for (title, specs) in [("GLOBAL_OPTIONS", &plugin.common), ("OPTIONS", &plugin.own)] {
        if specs.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{title}");
        for spec in specs {
            option(&mut text, spec);
        }
    }
    Ok(text)
}

/// The column in which descriptions start, and the one before which they end.
const COLUMN: usize = 39;
const WIDTH: usize = 92;

fn option(text: &mut String, spec: &Spec) {
    let names = [&[spec.name], spec.aliases].concat().join(", ");
    let _ = write!(text, "{names:<COLUMN$}");
    if names.len() >= COLUMN {
        let _ = write!(text, "\n{:COLUMN$}", "");
    }
    let indent = " ".repeat(COLUMN);
    wrap(text, &indent, spec.doc);
    let _ = writeln!(text, "{indent}> {}\n", facts(spec));
}

/// Default, type, range and the like in one line.
pub fn facts(spec: &Spec) -> String {
    let default = spec.default.map_or("-".to_owned(), str::to_owned);
    let mut facts = if spec.required { "required".to_owned() } else { format!("default: {default}") };
    let _ = write!(facts, ", type: {}", spec.kind);
    match (spec.min, spec.max) {
        (Some(min), Some(max)) => {
            let _ = write!(facts, ", {min} to {max}");
        }
        (Some(min), None) => {
            let _ = write!(facts, ", at least {min}");
        }
        (None, Some(max)) => {
            let _ = write!(facts, ", at most {max}");
        }
        (None, None) => {}
    }
    if spec.repeatable {
        facts.push_str(", may be repeated");
    }
    facts
}

/// Words into lines; the first one starts where the text stands.
fn wrap(out: &mut String, indent: &str, words: &str) {
    let mut column = COLUMN;
    for (number, word) in words.split_whitespace().enumerate() {
        if number > 0 && column + 1 + word.len() > WIDTH {
            let _ = write!(out, "\n{indent}");
            column = COLUMN;
        } else if number > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.len();
    }
    out.push('\n');
}

/// The reference page of a kind, as Markdown.
///
/// # Errors
/// There is no such kind.
pub fn reference(kind: &str) -> Result<String, String> {
    let mut text = String::new();
    let mut all = all();
    let (title, of) = match kind {
        "service" => {
            text.push_str("# Service\n\nPrinted from the options by `cargo x docs`.\n\n");
            table(&mut text, &service());
            return Ok(text);
        }
        "inputs" => ("Inputs", "input"),
        "filters" => ("Filters", "filter"),
        "processors" => ("Processors", "processor"),
        "outputs" => ("Outputs", "output"),
        _ => return Err(format!("--reference {kind}: service, inputs, filters, processors or outputs")),
    };
    all.retain(|plugin| plugin.kind == of);
    let _ = writeln!(text, "# {title}\n\nPrinted from the options by `cargo x docs`.\n");
    if of == "processor" {
        text.push_str("Every [filter](filters.md) is a processor too, under the same name.\n\n");
    }
    if let Some(first) = all.first() {
        let _ = writeln!(text, "## Of all of them\n");
        table(&mut text, &first.common);
    }
    let shared = shared(&all);
    if !shared.is_empty() {
        let _ = writeln!(text, "\n## Connections and TLS\n\nOf the plugins that say so.\n");
        table(&mut text, &shared);
    }
    for plugin in &all {
        let _ = writeln!(text, "\n## {}\n\n{}\n", plugin.name, plugin.about);
        let (elsewhere, own): (Vec<Spec>, Vec<Spec>) =
            plugin.own.iter().partition(|spec| shared.iter().any(|other| same(spec, other)));
        if !own.is_empty() || elsewhere.is_empty() {
            table(&mut text, &own);
        }
        if !elsewhere.is_empty() {
            let names: Vec<String> = elsewhere.iter().map(|spec| format!("`{}`", spec.name)).collect();
            let _ = writeln!(text, "\nOf [connections and TLS](#connections-and-tls): {}.", names.join(", "));
        }
    }
    Ok(text)
}

/// What several plugins have alike of connections and TLS, by its first appearance.
fn shared(plugins: &[Plugin]) -> Vec<Spec> {
    let of_connections = |spec: &Spec| spec.name.starts_with("net.") || spec.name.starts_with("tls");
    let mut shared: Vec<Spec> = Vec::new();
    for spec in plugins.iter().flat_map(|plugin| &plugin.own).filter(|spec| of_connections(spec)) {
        let alike = plugins.iter().filter(|plugin| plugin.own.iter().any(|other| same(spec, other))).count();
        // One name, one meaning: what a plugin has of its own under the name stays with the plugin.
        if alike > 1 && !shared.iter().any(|other| other.name == spec.name) {
            shared.push(*spec);
        }
    }
    shared
}

fn same(spec: &Spec, other: &Spec) -> bool {
    spec.name == other.name && spec.doc == other.doc && spec.default == other.default
}

fn table(text: &mut String, specs: &[Spec]) {
    if specs.is_empty() {
        text.push_str("No options of its own.\n");
        return;
    }
    text.push_str("| option | type | default | |\n|---|---|---|---|\n");
    for spec in specs {
        let names = [&[spec.name], spec.aliases].concat();
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let default = match spec.default {
            Some(default) => format!("`{default}`"),
            None if spec.required => "required".to_owned(),
            None => String::new(),
        };
        let kind = spec.kind.to_string();
        let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
        let repeats = if spec.repeatable { " May be repeated." } else { "" };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {}{repeats} |",
            names.join(", "),
            cell(&kind),
            cell(&default),
            cell(spec.doc)
        );
    }
}

/// All plugins as Fluent Bit's JSON schema has them.
pub fn schema() -> String {
    let all = all();
    let of = |kind: &str| -> Vec<Value> {
        all.iter().filter(|plugin| plugin.kind == kind).map(|plugin| plugin_json(plugin, kind)).collect()
    };
    // Every filter is a processor too.
    let processors: Vec<Value> = all
        .iter()
        .filter(|plugin| ["filter", "processor"].contains(&plugin.kind))
        .map(|plugin| plugin_json(plugin, "processor"))
        .collect();
    let schema = json!({
        "fluent-bit": {"version": "5.1.1", "schema_version": "1", "os": std::env::consts::OS},
        "weir": {"version": env!("CARGO_PKG_VERSION")},
        "service": options_json(&service()),
        "customs": [], "inputs": of("input"), "processors": processors, "filters": of("filter"),
        "outputs": of("output"),
    });
    format!("{schema}\n")
}

/// The plugin that a section names, as JSON.
///
/// # Errors
/// There is no such plugin.
pub fn plugin_schema(section: &Section) -> Result<String, String> {
    Ok(format!("{}\n", plugin_json(&find(section)?, &section.kind)))
}

/// The groups are Fluent Bit's: networking and TLS apart from what the plugin alone has.
fn plugin_json(plugin: &Plugin, kind: &str) -> Value {
    let group = |wanted: &dyn Fn(&str) -> bool| -> Vec<Spec> {
        plugin.own.iter().filter(|spec| wanted(spec.name)).copied().collect()
    };
    let (net, tls) =
        (|name: &str| name.starts_with("net."), |name: &str| name == "tls" || name.starts_with("tls."));
    let mut properties = json!({
        "global_options": options_json(&plugin.common),
        "options": options_json(&group(&|name| !net(name) && !tls(name))),
    });
    for (name, specs) in [("networking", group(&net)), ("network_tls", group(&tls))] {
        if !specs.is_empty() {
            properties[name] = Value::Array(options_json(&specs));
        }
    }
    json!({"type": kind, "name": plugin.name, "description": plugin.about, "properties": properties})
}

fn options_json(specs: &[Spec]) -> Vec<Value> {
    let names = |spec: &Spec| [&[spec.name], spec.aliases].concat();
    let option = |spec: &Spec, name: &str| {
        let mut option = json!({
            "name": name, "description": spec.doc, "default": default_of(spec), "type": type_of(spec.kind),
        });
        if spec.required {
            option["required"] = Value::Bool(true);
        }
        if let Kind::Choice(names) = spec.kind {
            option["values"] = json!(names);
        }
        option
    };
    specs
        .iter()
        .flat_map(|spec| names(spec).into_iter().map(move |name| (spec, name)))
        .map(|(spec, name)| option(spec, name))
        .collect()
}

/// The default as Fluent Bit writes it.
fn default_of(spec: &Spec) -> Option<&'static str> {
    match (spec.kind, spec.default) {
        (Kind::Bool, Some("on")) => Some("true"),
        (Kind::Bool, Some("off")) => Some("false"),
        (_, default) => default,
    }
}

/// The type as Fluent Bit calls it.
pub fn type_of(kind: Kind) -> String {
    match kind {
        Kind::Bool => "boolean".to_owned(),
        Kind::Integer => "integer".to_owned(),
        Kind::Number => "double".to_owned(),
        Kind::Text | Kind::Secret | Kind::Choice(_) | Kind::Other(_) => "string".to_owned(),
        Kind::Size => "size".to_owned(),
        Kind::Period => "time".to_owned(),
        Kind::CommaList => "multiple comma delimited strings".to_owned(),
        Kind::SpaceList => "space delimited strings (minimum 1)".to_owned(),
        Kind::Words(count) => format!("space delimited strings (minimum {count})"),
    }
}
