//! Column types ("Scalar data types") and the names and column lists of control commands.

use serde::{Deserialize, Serialize};

use crate::limits;

/// Type of a column. `decimal` and `timespan` are not offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ColumnType {
    Bool,
    Int,
    Long,
    Real,
    String,
    Datetime,
    Dynamic,
    Guid,
}

impl ColumnType {
    const ALL: [Self; 8] = [
        Self::Bool,
        Self::Int,
        Self::Long,
        Self::Real,
        Self::String,
        Self::Datetime,
        Self::Dynamic,
        Self::Guid,
    ];

    /// Kusto's name.
    pub(crate) fn name(self) -> &'static str {
        self.names().0
    }

    /// The .NET name of a V1 result set.
    pub(crate) fn clr(self) -> &'static str {
        self.names().1
    }

    /// The .NET name with its namespace, in a schema.
    pub(crate) fn clr_full(self) -> &'static str {
        self.names().2
    }

    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Bool => ("bool", "SByte", "System.SByte"),
            Self::Int => ("int", "Int32", "System.Int32"),
            Self::Long => ("long", "Int64", "System.Int64"),
            Self::Real => ("real", "Double", "System.Double"),
            Self::String => ("string", "String", "System.String"),
            Self::Datetime => ("datetime", "DateTime", "System.DateTime"),
            Self::Dynamic => ("dynamic", "Object", "System.Object"),
            Self::Guid => ("guid", "Guid", "System.Guid"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == text)
    }
}

/// A column.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: ColumnType,
}

/// The columns a log table starts with.
pub(crate) fn log_columns() -> Vec<Column> {
    [("tag", ColumnType::String), ("timestamp", ColumnType::Datetime), ("log", ColumnType::Dynamic)]
        .map(|(name, kind)| Column { name: name.to_owned(), kind })
        .to_vec()
}

/// Reads a table or column name: plain, or quoted as `['name']` or `["name"]`. See "Entity names".
pub(crate) fn entity_name(text: &str) -> Result<String, String> {
    let text = text.trim();
    let quoted = ["'", "\""].into_iter().find_map(|quote| {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?.trim();
        inner.strip_prefix(quote)?.strip_suffix(quote)
    });
    let name = quoted.unwrap_or(text);
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let fits = |c: char| plain(c) || (quoted.is_some() && matches!(c, ' ' | '.' | '-'));
    if name.is_empty() || name.len() > limits::NAME_BYTES || !name.chars().all(fits) {
        return Err(format!("'{text}' is not a valid entity name"));
    }
    Ok(name.to_owned())
}

/// Reads the `(a:type, b:type)` of `.create table`.
pub(crate) fn column_list(text: &str) -> Result<Vec<Column>, String> {
    let inner = text.trim().strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    let inner = inner.ok_or("expected a column list in parentheses")?;
    let mut columns: Vec<Column> = Vec::new();
    for part in inner.split(',') {
        let (name, kind) =
            part.split_once(':').ok_or_else(|| format!("expected 'name:type', found '{part}'"))?;
        let kind = kind.trim();
        let kind = ColumnType::parse(kind)
            .ok_or_else(|| format!("column type '{kind}' is not supported by kusto-local"))?;
        let name = entity_name(name)?;
        if columns.iter().any(|column| column.name == name) {
            return Err(format!("column '{name}' is named twice"));
        }
        columns.push(Column { name, kind });
    }
    if columns.len() > limits::COLUMNS {
        return Err(format!("a table has at most {} columns", limits::COLUMNS));
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_lists_are_read_as_kusto_writes_them() {
        let columns = column_list("(tag: string, ['time stamp']:datetime,\n log:dynamic)").unwrap();
        let names: Vec<_> = columns.iter().map(|column| (column.name.as_str(), column.kind.name())).collect();
        assert_eq!(names, [("tag", "string"), ("time stamp", "datetime"), ("log", "dynamic")]);
        for bad in ["", "()", "(a)", "(a:text)", "(a:int,a:int)", "(a b:int)", "a:int"] {
            assert!(column_list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn entity_names_cannot_leave_the_folder() {
        assert_eq!(entity_name(" ['my table'] ").unwrap(), "my table");
        for bad in ["", "a/b", "['a/b']", "..", "['']", "a b"] {
            assert!(entity_name(bad).is_err(), "{bad}");
        }
    }
}
