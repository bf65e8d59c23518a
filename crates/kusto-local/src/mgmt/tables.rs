//! Commands about tables: making, showing, dropping, mappings and policies.

use serde_json::{Value, json};

use super::{STRING, after_words};
use crate::engine::mapping::{self, Mapping};
use crate::engine::schema::{self, ColumnType};
use crate::engine::table::{Batching, Committed, Table as StoredTable};
use crate::limits;
use crate::oneapi::{Failure, Table};
use crate::state::State;

type Answer = Result<Table, Failure>;

fn syntax(message: impl Into<String>) -> Failure {
    Failure::bad_request("BadRequest_SyntaxError", message)
}

/// Runs the command, if it is one about tables.
pub(super) fn run(state: &State, text: &str, words: &[&str]) -> Option<Answer> {
    let word = |at: usize| words.get(at).map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    if word(0) == ".show" && word(1) == "tables" && words.len() == 2 {
        return Some(Ok(list(state)));
    }
    if word(1) != "table" {
        return None;
    }
    let rest = after_words(text, 2).trim_start();
    match &*word(0) {
        ".create" | ".create-or-alter" | ".create-merge" => Some(create(state, rest)),
        ".drop" => Some(drop(state, rest)),
        ".alter" | ".show" => Some(named(state, rest).and_then(|(table, rest)| {
            let set = word(0) == ".alter";
            let words: Vec<String> = rest.split_whitespace().map(str::to_ascii_lowercase).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            match (set, words.as_slice()) {
                (true, ["policy", "streamingingestion", ..]) => alter_streaming(&table, after_words(rest, 2)),
                (true, ["policy", "ingestionbatching", ..]) => alter_batching(&table, after_words(rest, 2)),
                (false, ["policy", policy]) => show_policy(state, &table, policy),
                (false, ["ingestion", "mappings"] | ["ingestion", _, "mappings"]) => Ok(mappings(&table)),
                (false, ["extents"]) => Ok(extents(&table)),
                (false, ["schema", "as", "json"]) => Ok(schema_table(state, &table)),
                _ => Err(syntax(format!("kusto-local does not support '{}' of a table.", rest.trim()))),
            }
        })),
        _ => None,
    }
}

/// The table a text begins with, and what is behind its name.
fn named<'a>(state: &State, text: &'a str) -> Result<(std::sync::Arc<StoredTable>, &'a str), Failure> {
    let (name, rest) = split_name(text).map_err(syntax)?;
    let table = state.tables.get(&name).ok_or_else(|| not_found(&name))?;
    Ok((table, rest))
}

fn not_found(name: &str) -> Failure {
    Failure::bad_request("BadRequest_EntityNotFound", format!("Entity not found: table '{name}'."))
}

/// A name, perhaps in brackets and quotes, and the rest.
fn split_name(text: &str) -> Result<(String, &str), String> {
    let text = text.trim_start();
    let end = if text.starts_with('[') {
        text.find(']').map(|end| end + 1).ok_or("a bracket is not closed")?
    } else {
        text.find(|c: char| c.is_whitespace() || c == '(').unwrap_or(text.len())
    };
    Ok((schema::entity_name(&text[..end])?, &text[end..]))
}

/// A text in quotes, and the rest: `'...'`, `"..."`, `@'...'` or three backticks.
fn quoted(text: &str) -> Result<(String, &str), Failure> {
    let text = text.trim_start().trim_start_matches('@');
    for quote in ["```", "'", "\""] {
        let Some(inner) = text.strip_prefix(quote) else { continue };
        let mut at = 0;
        loop {
            let end = at + inner[at..].find(quote).ok_or_else(|| syntax("A quote is not closed."))?;
            // What is behind a backslash is no end.
            if quote == "```" || !inner[..end].ends_with('\\') {
                let value = if quote == "```" { inner[..end].to_owned() } else { unescaped(&inner[..end]) };
                return Ok((value, &inner[end + quote.len()..]));
            }
            at = end + quote.len();
        }
    }
    Err(syntax(format!("Expected a text in quotes, found '{}'.", text.chars().take(20).collect::<String>())))
}

fn unescaped(text: &str) -> String {
    text.replace("\\\"", "\"").replace("\\'", "'").replace("\\\\", "\\")
}

pub(super) fn list(state: &State) -> Table {
    let rows: Vec<Value> =
        state.tables.list().iter().map(|table| json!([table.name, state.database, "", ""])).collect();
    let columns =
        [("TableName", STRING), ("DatabaseName", STRING), ("Folder", STRING), ("DocString", STRING)];
    Table::new(&columns, &rows)
}

fn create(state: &State, text: &str) -> Answer {
    let (name, rest) = split_name(text).map_err(syntax)?;
    if rest.trim_start().to_ascii_lowercase().starts_with("ingestion") {
        return create_mapping(state, text);
    }
    let columns = schema::column_list(rest).map_err(syntax)?;
    if state.tables.get(&name).is_none() && state.tables.list().len() >= limits::TABLES {
        return Err(Failure::bad_request("BadRequest_LimitExceeded", "The database has too many tables."));
    }
    let table = state.tables.create(&name, columns).map_err(|error| Failure::internal(&error))?;
    Ok(schema_table(state, &table))
}

fn schema_table(state: &State, table: &StoredTable) -> Table {
    let columns = [
        ("TableName", STRING),
        ("Schema", STRING),
        ("DatabaseName", STRING),
        ("Folder", STRING),
        ("DocString", STRING),
    ];
    let row = json!([table.name, schema_json(table).to_string(), state.database, "", ""]);
    Table::new(&columns, &[row])
}

fn schema_json(table: &StoredTable) -> Value {
    let columns: Vec<Value> = table
        .columns
        .iter()
        .map(|column| json!({ "Name": column.name, "Type": column.kind.clr_full(), "CslType": column.kind.name() }))
        .collect();
    json!({ "Name": table.name, "OrderedColumns": columns })
}

fn drop(state: &State, text: &str) -> Answer {
    let (name, rest) = split_name(text).map_err(syntax)?;
    let rest = rest.trim();
    if rest.to_ascii_lowercase().starts_with("ingestion") {
        return drop_mapping(state, text);
    }
    if !rest.is_empty() && rest != "ifexists" {
        return Err(syntax(format!("'{rest}' is not understood.")));
    }
    let dropped = state.tables.drop(&name).map_err(|error| Failure::internal(&error))?;
    if !dropped && rest.is_empty() {
        return Err(not_found(&name));
    }
    Ok(list(state))
}

fn change(table: &StoredTable, change: impl FnOnce(&mut Committed)) -> Result<(), Failure> {
    match table.change(change).map_err(|error| Failure::internal(&error))? {
        true => Ok(()),
        false => Err(not_found(&table.name)),
    }
}

/// `ingestion json mapping`, and what is behind it.
fn mapping_kind(text: &str) -> Result<(bool, &str), Failure> {
    let words: Vec<String> = text.split_whitespace().take(3).map(str::to_ascii_lowercase).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["ingestion", "json", "mapping"] => Ok((true, after_words(text, 3))),
        ["ingestion", "csv", "mapping"] => Ok((false, after_words(text, 3))),
        _ => Err(syntax("kusto-local has ingestion mappings for json and csv.")),
    }
}

fn create_mapping(state: &State, text: &str) -> Answer {
    let (table, rest) = named(state, text)?;
    let (json, rest) = mapping_kind(rest)?;
    let (name, rest) = quoted(rest)?;
    let (text, _) = quoted(rest)?;
    mapping::parse(&text, json, &table.columns)
        .map_err(|error| Failure::bad_request("BadRequest_InvalidMapping", error))?;
    if table.committed().mappings.len() >= limits::MAPPINGS {
        return Err(Failure::bad_request("BadRequest_LimitExceeded", "The table has too many mappings."));
    }
    change(&table, |committed| {
        committed.mappings.retain(|old| old.name != name || old.json != json);
        committed.mappings.push(Mapping { name, json, text });
    })?;
    Ok(mappings(&table))
}

fn drop_mapping(state: &State, text: &str) -> Answer {
    let (table, rest) = named(state, text)?;
    let (json, rest) = mapping_kind(rest)?;
    let (name, _) = quoted(rest)?;
    change(&table, |committed| committed.mappings.retain(|old| old.name != name || old.json != json))?;
    Ok(mappings(&table))
}

fn mappings(table: &StoredTable) -> Table {
    let columns = [("Name", STRING), ("Kind", STRING), ("Mapping", STRING), ("Table", STRING)];
    let kind = |json| if json { "Json" } else { "Csv" };
    let rows: Vec<Value> = table
        .committed()
        .mappings
        .iter()
        .map(|mapping| json!([mapping.name, kind(mapping.json), mapping.text, table.name]))
        .collect();
    Table::new(&columns, &rows)
}

fn alter_streaming(table: &StoredTable, text: &str) -> Answer {
    let text = text.trim();
    let enabled = match text.to_ascii_lowercase().as_str() {
        "enable" => true,
        "disable" => false,
        _ => {
            let (json, _) = quoted(text)?;
            let policy: Value = serde_json::from_str(&json).map_err(|error| syntax(error.to_string()))?;
            policy["IsEnabled"].as_bool().ok_or_else(|| syntax("The policy has no IsEnabled."))?
        }
    };
    change(table, |committed| committed.streaming = enabled)?;
    Ok(policy_table(table, "StreamingIngestionPolicy", &json!({ "IsEnabled": enabled })))
}

fn alter_batching(table: &StoredTable, text: &str) -> Answer {
    let (text, _) = quoted(text)?;
    let policy: Value = serde_json::from_str(&text).map_err(|error| syntax(error.to_string()))?;
    let number = |key: &str, default: u64| policy[key].as_u64().unwrap_or(default);
    let time = policy["MaximumBatchingTimeSpan"].as_str().unwrap_or("00:05:00");
    let time_ms =
        span_ms(time).ok_or_else(|| syntax(format!("'{time}' is no timespan of a day or less.")))?;
    let batching = Batching {
        time_ms,
        items: number("MaximumNumberOfItems", limits::BATCH_ITEMS).max(1),
        raw_mb: number("MaximumRawDataSizeMB", limits::BATCH_MB).max(1),
    };
    change(table, |committed| committed.batching = Some(batching))?;
    Ok(policy_table(table, "IngestionBatchingPolicy", &batching_json(batching)))
}

/// `hh:mm:ss[.fff]`. The service allows ten seconds at least; here a test may have less.
fn span_ms(text: &str) -> Option<u64> {
    let mut parts = text.split(':');
    let (hours, minutes) = (parts.next()?.parse::<u64>().ok()?, parts.next()?.parse::<u64>().ok()?);
    let seconds: f64 = parts.next()?.parse().ok().filter(|seconds| (0.0..60.0).contains(seconds))?;
    if parts.next().is_some() || hours > 24 || minutes > 59 {
        return None;
    }
    Some((hours * 3600 + minutes * 60) * 1000 + (seconds * 1000.0) as u64)
}

fn batching_json(batching: Batching) -> Value {
    let seconds = batching.time_ms / 1000;
    let span = format!(
        "{:02}:{:02}:{:02}.{:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        batching.time_ms % 1000
    );
    json!({
        "MaximumBatchingTimeSpan": span,
        "MaximumNumberOfItems": batching.items,
        "MaximumRawDataSizeMB": batching.raw_mb,
    })
}

fn show_policy(state: &State, table: &StoredTable, policy: &str) -> Answer {
    let committed = table.committed();
    match policy {
        "streamingingestion" => {
            let policy = json!({ "IsEnabled": committed.streaming });
            Ok(policy_table(table, "StreamingIngestionPolicy", &policy))
        }
        "ingestionbatching" => {
            let batching = committed.batching.unwrap_or(state.batching);
            Ok(policy_table(table, "IngestionBatchingPolicy", &batching_json(batching)))
        }
        _ => Err(syntax(format!("kusto-local has no policy '{policy}'."))),
    }
}

fn policy_table(table: &StoredTable, name: &str, policy: &Value) -> Table {
    let columns =
        [("PolicyName", STRING), ("EntityName", STRING), ("Policy", STRING), ("EntityType", STRING)];
    Table::new(&columns, &[json!([name, table.name, policy.to_string(), "Table"])])
}

fn extents(table: &StoredTable) -> Table {
    let columns = [
        ("ExtentId", ColumnType::Guid),
        ("TableName", STRING),
        ("RowCount", ColumnType::Long),
        ("OriginalSize", ColumnType::Long),
        ("MinCreatedOn", ColumnType::Datetime),
        ("Tags", STRING),
    ];
    let rows: Vec<Value> = table
        .committed()
        .extents
        .iter()
        .map(|extent| {
            let tags = extent.tags.join("\r\n");
            json!([extent.id, table.name, extent.rows, extent.bytes, extent.created, tags])
        })
        .collect();
    Table::new(&columns, &rows)
}
