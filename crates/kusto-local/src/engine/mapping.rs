//! Ingestion mappings ("Ingestion mappings", "JSON mapping", "CSV mapping"): which part of a record goes to
//! which column.
//!
//! A mapping is a JSON array of elements: `{"column": "n", "Properties": {"Path": "$.a['b c'][0]"}}` for JSON,
//! `{"Properties": {"Ordinal": "0"}}` for CSV, `ConstValue` for either. The older spellings (`Column`, and `path`
//! or `ordinal` beside the column) are read as well. Of the transforms those from Unix times are there; any other
//! one is refused when the mapping is made.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema::Column;
use crate::stamp;

/// A mapping as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mapping {
    pub(crate) name: String,
    /// For JSON; otherwise for CSV.
    pub(crate) json: bool,
    /// What the client gave.
    pub(crate) text: String,
}

/// From where a column's value comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Steps from the record down to a value.
    Path(Vec<Step>),
    /// A field of a line.
    Ordinal(usize),
    /// JSON text.
    Constant(String),
}

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Member(String),
    Index(usize),
}

/// A column's part of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    /// The column's place in the table.
    pub(crate) column: usize,
    pub(crate) source: Source,
    /// Nanoseconds of one unit, when the value is a Unix time.
    unix: Option<i128>,
}

impl Element {
    /// The value with the transform applied: JSON text. `None` when it does not fit.
    pub(crate) fn transform(&self, text: &str) -> Option<String> {
        let Some(unit) = self.unix else { return Some(text.to_owned()) };
        let number: i128 = text.trim_matches('"').parse().ok()?;
        let at = time::OffsetDateTime::from_unix_timestamp_nanos(number.checked_mul(unit)?).ok()?;
        Some(format!("\"{}\"", stamp::ticks(at)))
    }

    /// Whether the value is changed on its way.
    pub(crate) fn transforms(&self) -> bool {
        self.unix.is_some()
    }
}

/// Reads a mapping for a table. The error is a sentence for a person.
pub(crate) fn parse(text: &str, json: bool, columns: &[Column]) -> Result<Vec<Element>, String> {
    let elements: Vec<Value> =
        serde_json::from_str(text).map_err(|error| format!("the mapping is no JSON array: {error}"))?;
    if elements.is_empty() {
        return Err("the mapping is empty".to_owned());
    }
    elements.iter().map(|element| read(element, json, columns)).collect()
}

/// A member by its name in any case.
fn member<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let members = object.as_object()?;
    members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn read(element: &Value, json: bool, columns: &[Column]) -> Result<Element, String> {
    let name = member(element, "column").and_then(Value::as_str).ok_or("an element names no column")?;
    let column = columns
        .iter()
        .position(|column| column.name == name)
        .ok_or_else(|| format!("the table has no column '{name}'"))?;
    let properties = member(element, "properties").unwrap_or(element);
    let text = |key: &str| {
        let value =
            member(properties, key).or_else(|| member(element, key)).filter(|value| !value.is_null())?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let source = match (text("constvalue"), text("path"), text("ordinal")) {
        (Some(constant), _, _) => Source::Constant(Value::from(constant).to_string()),
        (None, Some(path), _) if json => Source::Path(steps(&path)?),
        (None, _, Some(ordinal)) if !json => {
            Source::Ordinal(ordinal.parse().map_err(|_| format!("'{ordinal}' is no ordinal"))?)
        }
        _ if json => return Err(format!("column '{name}' has neither Path nor ConstValue")),
        _ => return Err(format!("column '{name}' has neither Ordinal nor ConstValue")),
    };
    let unix = match text("transform").as_deref() {
        None | Some("" | "None") => None,
        Some("DateTimeFromUnixSeconds") => Some(1_000_000_000),
        Some("DateTimeFromUnixMilliseconds") => Some(1_000_000),
        Some("DateTimeFromUnixMicroseconds") => Some(1_000),
        Some("DateTimeFromUnixNanoseconds") => Some(1),
        Some(other) => return Err(format!("kusto-local does not support the transform '{other}'")),
    };
    Ok(Element { column, source, unix })
}

/// Reads a JSON path: `$`, `.name`, `['name']`, `["name"]`, `[0]`.
pub(crate) fn steps(path: &str) -> Result<Vec<Step>, String> {
    let wrong = || format!("'{path}' is no JSON path that kusto-local understands");
    let mut rest = path.trim().strip_prefix('$').ok_or_else(wrong)?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix('.') {
            let end = behind.find(['.', '[']).unwrap_or(behind.len());
            if end == 0 {
                return Err(wrong());
            }
            steps.push(Step::Member(behind[..end].to_owned()));
            rest = &behind[end..];
            continue;
        }
        let inner = rest.strip_prefix('[').ok_or_else(wrong)?;
        if let Some(quote) = inner.chars().next().filter(|first| ['\'', '"'].contains(first)) {
            let (name, behind) = inner[1..].split_once(&format!("{quote}]")).ok_or_else(wrong)?;
            steps.push(Step::Member(name.to_owned()));
            rest = behind;
        } else {
            let (index, behind) = inner.split_once(']').ok_or_else(wrong)?;
            steps.push(Step::Index(index.parse().map_err(|_| wrong())?));
            rest = behind;
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::schema::column_list;

    #[test]
    fn paths_are_read_step_by_step() {
        let member = |name: &str| Step::Member(name.to_owned());
        assert_eq!(steps("$").unwrap(), []);
        assert_eq!(
            steps("$.a['b c'][2].d").unwrap(),
            [member("a"), member("b c"), Step::Index(2), member("d")]
        );
        for bad in ["", "a", "$a", "$.", "$[x]", "$['a"] {
            assert!(steps(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn both_spellings_of_an_element_are_read_and_mistakes_are_named() {
        let columns = column_list("(n:long,t:datetime)").unwrap();
        for text in [
            r#"[{"column":"n","Properties":{"Path":"$.a"}}]"#,
            r#"[{"Column":"n","path":"$.a","datatype":"long"}]"#,
        ] {
            let elements = parse(text, true, &columns).unwrap();
            assert_eq!(elements[0].source, Source::Path(vec![Step::Member("a".to_owned())]), "{text}");
        }
        let csv = parse(r#"[{"column":"t","Properties":{"Ordinal":"1"}}]"#, false, &columns).unwrap();
        assert_eq!((csv[0].column, &csv[0].source), (1, &Source::Ordinal(1)));
        for (text, said) in [
            ("{}", "no JSON array"),
            ("[]", "empty"),
            (r#"[{"column":"x","Properties":{"Path":"$.a"}}]"#, "no column 'x'"),
            (r#"[{"column":"n"}]"#, "neither Path"),
            (
                r#"[{"column":"n","Properties":{"Path":"$.a","Transform":"SourceLocation"}}]"#,
                "'SourceLocation'",
            ),
        ] {
            let error = parse(text, true, &columns).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn unix_times_become_datetimes() {
        let columns = column_list("(t:datetime)").unwrap();
        let text =
            r#"[{"column":"t","Properties":{"Path":"$.t","Transform":"DateTimeFromUnixMilliseconds"}}]"#;
        let element = &parse(text, true, &columns).unwrap()[0];
        assert_eq!(element.transform("1700000000123").unwrap(), "\"2023-11-14T22:13:20.1230000Z\"");
        assert_eq!(element.transform("\"x\""), None);
    }
}
