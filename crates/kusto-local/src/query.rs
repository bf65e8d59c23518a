//! Queries: `POST /v1/rest/query` and `POST /v2/rest/query`, for reading back what was ingested.
//!
//! `T`, `T | count`, `T | take N` and `T | limit N` are understood; a table may be quoted as `['T']`. A plain
//! `T` obeys the service's limits (500,000 rows, 64 MB), which a query in Azure does as well. Any other
//! operator is refused by name, since a wrong answer would be worse than none.

use std::io;

use serde_json::json;

use crate::engine::schema::{ColumnType, entity_name};
use crate::mgmt::{self, Command};
use crate::oneapi::{Failure, Table};
use crate::state::State;

/// A query this server can answer.
#[derive(PartialEq, Eq, Debug)]
enum Query {
    Count(String),
    Take(String, u64),
}

/// Runs a query.
pub(crate) fn run(state: &State, command: &Command) -> Result<Table, Failure> {
    mgmt::check_database(state, &command.db)?;
    let query = parse(&command.csl)?;
    let (Query::Count(name) | Query::Take(name, _)) = &query;
    let table = state.tables.get(name).ok_or_else(|| {
        let message = format!(
            "Semantic error: SEM0100: 'table' operator: Failed to resolve table expression named '{name}'"
        );
        Failure::bad_request("BadRequest_EntityNotFound", message)
    })?;
    match query {
        Query::Count(_) => Ok(Table::new(&[("Count", ColumnType::Long)], &[json!([table.committed().rows])])),
        Query::Take(_, rows) => {
            let rows = table.read(rows).map_err(|error| match error.kind() {
                io::ErrorKind::FileTooLarge => {
                    Failure::bad_request("E_QUERY_RESULT_SET_TOO_LARGE", error.to_string())
                }
                _ => Failure::internal(&error),
            })?;
            Ok(Table { columns: table.columns.clone(), rows })
        }
    }
}

fn parse(text: &str) -> Result<Query, Failure> {
    let syntax =
        |message: String| Failure::bad_request("BadRequest_SyntaxError", format!("Syntax error: {message}"));
    let text = text.trim().trim_end_matches(';');
    let mut stages = text.split('|');
    let name = entity_name(stages.next().unwrap_or_default())
        .map_err(|message| syntax(format!("{message}; kusto-local's queries begin with a table")))?;
    let Some(operator) = stages.next() else { return Ok(Query::Take(name, u64::MAX)) };
    if let Some(next) = stages.next() {
        return Err(syntax(format!("kusto-local supports one operator; '{}' is the second", next.trim())));
    }
    let words: Vec<&str> = operator.split_whitespace().collect();
    match words.as_slice() {
        ["count"] => Ok(Query::Count(name)),
        ["take" | "limit", rows] => match rows.parse() {
            Ok(rows) => Ok(Query::Take(name, rows)),
            Err(_) => Err(syntax(format!("'{rows}' is no number of rows"))),
        },
        _ => {
            let operator = words.first().copied().unwrap_or_default();
            Err(syntax(format!("kusto-local does not support the operator '{operator}' as written")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_supported_queries_are_understood() {
        let cases = [
            ("T", Query::Take("T".to_owned(), u64::MAX)),
            ("T | count", Query::Count("T".to_owned())),
            ("['my T']\n| take 5;", Query::Take("my T".to_owned(), 5)),
            ("T|limit 0", Query::Take("T".to_owned(), 0)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn an_unsupported_operator_is_named() {
        let failure = parse("T | where x == 1").unwrap_err();
        assert_eq!(failure.code, "BadRequest_SyntaxError");
        assert!(failure.message.contains("'where'") && failure.permanent, "{failure:?}");
        for text in ["", "| count", "T | take", "T | take x", "T | count | count", "print 1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
