//! Queries: `POST /v1/rest/query` and `POST /v2/rest/query`, for reading back what was ingested.
//!
//! | operator | what is understood |
//! |---|---|
//! | `T`, `['T']` | a table; its rows obey the service's limits (500,000 rows, 64 MB) |
//! | `count` | |
//! | `take N`, `limit N` | |
//! | `where E` | `==`, `!=`, `<`, `<=`, `>`, `>=`, `=~`, `has`, `contains`, `startswith`, with `and`, `or`, `not(...)` and brackets |
//! | `project a, b = E` | |
//! | `order by E [asc\|desc], ...`, `sort by` | descending unless it says otherwise, as in Kusto |
//! | `summarize [n =] count() [by E, ...]` | |
//!
//! `E` is a column, a path into a `dynamic` one (`log.a['b'][0]`), a literal (`'text'`, `1.5`, `true`,
//! `datetime(...)`, `guid(...)`), or `tostring`, `tolong`, `toint`, `toreal`, `todouble`, `isempty`, `isnotempty`,
//! `isnull` or `isnotnull` of one. Anything else is refused by its name, since a wrong answer would be worse than none.
//! The same operators work behind `.show ... |`.

pub(crate) mod expression;
pub(crate) mod parse;
pub(crate) mod stages;

use std::io;

use crate::engine::schema::ColumnType;
use crate::mgmt::{self, Command};
use crate::oneapi::{Failure, Table};
use crate::state::State;
use parse::Operator;

/// Runs a query.
pub(crate) fn run(state: &State, command: &Command) -> Result<Table, Failure> {
    mgmt::check_database(state, &command.db)?;
    let query = parse::query(&command.csl).map_err(syntax)?;
    let table = state.tables.get(&query.table).ok_or_else(|| {
        let message = format!(
            "Semantic error: SEM0100: 'table' operator: Failed to resolve table expression named '{}'",
            query.table
        );
        Failure::bad_request("BadRequest_EntityNotFound", message)
    })?;
    if matches!(query.operators.as_slice(), [Operator::Count]) {
        // It is known; nobody waits for a million rows to be read.
        let rows = [serde_json::json!([table.committed().rows])];
        return Ok(Table::new(&[("Count", ColumnType::Long)], &rows));
    }
    let mut stages = stages::Stages::plan(&query.operators, table.columns.clone()).map_err(syntax)?;
    table.each(|row| stages.feed(row)).map_err(|error| too_large(&error))?;
    stages.finish().map_err(|error| too_large(&error))
}

/// Runs operators over a table that a command gave.
pub(crate) fn over(table: Table, operators: &str) -> Result<Table, Failure> {
    let operators = parse::operators(operators).map_err(syntax)?;
    let mut stages = stages::Stages::plan(&operators, table.columns).map_err(syntax)?;
    let text = format!("[{}]", table.rows);
    let rows: Vec<&serde_json::value::RawValue> =
        serde_json::from_str(&text).map_err(|error| Failure::internal(&io::Error::other(error)))?;
    for row in rows {
        if !stages.feed(row.get()).map_err(|error| too_large(&error))? {
            break;
        }
    }
    stages.finish().map_err(|error| too_large(&error))
}

fn syntax(message: String) -> Failure {
    Failure::bad_request("BadRequest_SyntaxError", format!("Syntax error: {message}"))
}

fn too_large(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::FileTooLarge => {
            Failure::bad_request("E_QUERY_RESULT_SET_TOO_LARGE", error.to_string())
        }
        _ => Failure::internal(error),
    }
}
