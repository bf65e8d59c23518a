//! Rows through a query's operators, one after the other. Rows are held only where an operator must have seen all of
//! them, and never more than an answer may have.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::io;

use serde_json::value::RawValue;

use super::expression::{Expression, Scalar};
use super::parse::Operator;
use crate::engine::schema::{Column, ColumnType};
use crate::limits;
use crate::oneapi::Table;

/// A row: the JSON text of each cell.
type Row = Vec<String>;

enum Stage {
    Count(u64),
    Take(u64),
    Where(Expression),
    Project(Vec<Expression>),
    Order { by: Vec<(Expression, bool)>, rows: Held },
    Summarize { by: Vec<Expression>, counts: HashMap<Row, u64>, order: Vec<Row> },
}

/// Rows that are kept, within the bounds of an answer.
#[derive(Default)]
struct Held {
    rows: Vec<Row>,
    bytes: usize,
}

impl Held {
    fn push(&mut self, row: Row) -> io::Result<()> {
        self.bytes += row.iter().map(|cell| cell.len() + 1).sum::<usize>();
        self.rows.push(row);
        if self.rows.len() as u64 > limits::QUERY_ROWS {
            return Err(too_large(format!("more than {} rows", limits::QUERY_ROWS)));
        }
        if self.bytes > limits::QUERY_BYTES {
            return Err(too_large("more than 64 MB".to_owned()));
        }
        Ok(())
    }
}

fn too_large(what: String) -> io::Error {
    let text = format!("the result set has {what} (E_QUERY_RESULT_SET_TOO_LARGE)");
    io::Error::new(io::ErrorKind::FileTooLarge, text)
}

/// A query under way.
pub(crate) struct Stages {
    stages: Vec<Stage>,
    columns: Vec<Column>,
    out: Held,
}

impl Stages {
    /// Finds all columns. The error is a sentence for a person.
    pub(crate) fn plan(operators: &[Operator], mut columns: Vec<Column>) -> Result<Self, String> {
        let mut stages = Vec::new();
        let named = |columns: &[Column],
                     list: &[(String, Expression)]|
         -> Result<Vec<(Column, Expression)>, String> {
            let one = |(name, expression): &(String, Expression)| {
                let expression = expression.clone().resolve(columns)?;
                Ok((Column { name: name.clone(), kind: expression.kind() }, expression))
            };
            list.iter().map(one).collect()
        };
        for operator in operators {
            stages.push(match operator {
                Operator::Count => {
                    columns = vec![Column { name: "Count".to_owned(), kind: ColumnType::Long }];
                    Stage::Count(0)
                }
                Operator::Take(rows) => Stage::Take(*rows),
                Operator::Where(expression) => Stage::Where(expression.clone().resolve(&columns)?),
                Operator::Project(list) => {
                    let (next, list) = named(&columns, list)?.into_iter().unzip();
                    columns = next;
                    Stage::Project(list)
                }
                Operator::Order(by) => {
                    let one = |(expression, up): &(Expression, bool)| {
                        Ok((expression.clone().resolve(&columns)?, *up))
                    };
                    Stage::Order {
                        by: by.iter().map(one).collect::<Result<_, String>>()?,
                        rows: Held::default(),
                    }
                }
                Operator::Summarize(name, list) => {
                    let (mut next, by): (Vec<Column>, _) = named(&columns, list)?.into_iter().unzip();
                    next.push(Column { name: name.clone(), kind: ColumnType::Long });
                    columns = next;
                    Stage::Summarize { by, counts: HashMap::new(), order: Vec::new() }
                }
            });
        }
        Ok(Self { stages, columns, out: Held::default() })
    }

    /// Takes a stored row; false when no more are wanted.
    pub(crate) fn feed(&mut self, row: &str) -> io::Result<bool> {
        let cells: Vec<&RawValue> = serde_json::from_str(row)?;
        feed(&mut self.stages, &mut self.out, cells.iter().map(|cell| cell.get().to_owned()).collect())
    }

    /// The answer.
    pub(crate) fn finish(mut self) -> io::Result<Table> {
        for at in 0..self.stages.len() {
            let (stage, rest) = self.stages.split_at_mut(at + 1);
            for row in stage[at].release() {
                if !feed(rest, &mut self.out, row)? {
                    break;
                }
            }
        }
        let rows: Vec<String> = self.out.rows.iter().map(|row| format!("[{}]", row.join(","))).collect();
        Ok(Table { columns: self.columns, rows: rows.join(",") })
    }
}

fn feed(stages: &mut [Stage], out: &mut Held, mut row: Row) -> io::Result<bool> {
    for at in 0..stages.len() {
        match &mut stages[at] {
            Stage::Count(rows) => {
                *rows += 1;
                return Ok(true);
            }
            Stage::Take(0) => return Ok(false),
            Stage::Take(left) => {
                *left -= 1;
                let last = *left == 0;
                return Ok(feed(&mut stages[at + 1..], out, row)? && !last);
            }
            Stage::Where(expression) if expression.holds(&row) => {}
            Stage::Where(_) => return Ok(true),
            Stage::Project(list) => row = list.iter().map(|one| one.of(&row).to_json()).collect(),
            Stage::Order { rows, .. } => return rows.push(row).map(|()| true),
            Stage::Summarize { by, counts, order } => {
                let key: Row = by.iter().map(|one| one.of(&row).to_json()).collect();
                if let Some(count) = counts.get_mut(&key) {
                    *count += 1;
                    return Ok(true);
                }
                if counts.len() >= limits::GROUPS {
                    return Err(too_large(format!("more than {} groups", limits::GROUPS)));
                }
                order.push(key.clone());
                counts.insert(key, 1);
                return Ok(true);
            }
        }
    }
    out.push(row).map(|()| true)
}

impl Stage {
    /// What is held until all rows were seen.
    fn release(&mut self) -> Vec<Row> {
        match self {
            Self::Count(rows) => vec![vec![rows.to_string()]],
            Self::Order { by, rows } => {
                let rows = std::mem::take(&mut rows.rows);
                let keyed = |row: Row| (by.iter().map(|(one, _)| one.of(&row)).collect::<Vec<Scalar>>(), row);
                let mut keyed: Vec<(Vec<Scalar>, Row)> = rows.into_iter().map(keyed).collect();
                keyed.sort_by(|(left, _), (right, _)| {
                    let orders = left.iter().zip(right).zip(by.iter()).map(|((left, right), (_, up))| {
                        let order = nulls_first(left, right);
                        if *up { order } else { order.reverse() }
                    });
                    orders.into_iter().find(|order| *order != Ordering::Equal).unwrap_or(Ordering::Equal)
                });
                keyed.into_iter().map(|(_, row)| row).collect()
            }
            Self::Summarize { by, counts, order } => {
                if by.is_empty() && order.is_empty() {
                    return vec![vec!["0".to_owned()]];
                }
                let with_count = |mut key: Row| {
                    let count = counts.remove(&key).unwrap_or(0);
                    key.push(count.to_string());
                    key
                };
                std::mem::take(order).into_iter().map(with_count).collect()
            }
            Self::Take(_) | Self::Where(_) | Self::Project(_) => Vec::new(),
        }
    }
}

fn nulls_first(left: &Scalar, right: &Scalar) -> Ordering {
    match (left, right) {
        (Scalar::Null, Scalar::Null) => Ordering::Equal,
        (Scalar::Null, _) => Ordering::Less,
        (_, Scalar::Null) => Ordering::Greater,
        _ => left.order(right).unwrap_or(Ordering::Equal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::schema::column_list;
    use crate::query::parse;

    const ROWS: [&str; 4] = [
        r#"["a",1,"2026-11-23T10:00:00.0000000Z",{"k":"x y","n":[5]}]"#,
        r#"["b",2,"2026-11-23T11:00:00.0000000Z",{"k":"y"}]"#,
        r#"["a",10,"2026-11-23T12:00:00.0000000Z",null]"#,
        r#"["",null,null,{"k":7}]"#,
    ];

    fn answer(text: &str) -> String {
        let columns = column_list("(tag:string,n:long,t:datetime,log:dynamic)").unwrap();
        let query = parse::query(&format!("T | {text}")).unwrap();
        let mut stages = Stages::plan(&query.operators, columns).unwrap();
        for row in ROWS {
            if !stages.feed(row).unwrap() {
                break;
            }
        }
        stages.finish().unwrap().rows
    }

    #[test]
    fn operators_answer_as_kusto_does() {
        for (query, expected) in [
            ("count", "[4]"),
            ("take 1 | project tag", r#"["a"]"#),
            ("where tag == 'a' | count", "[2]"),
            ("where n > 1 and n <= 10 | project n", "[2],[10]"),
            ("where n == 1.0 or tag != 'a' | count", "[3]"),
            ("where t >= datetime(2026-11-23T11:00:00Z) | count", "[2]"),
            ("where log.k == 'y' | project n", "[2]"),
            ("where log.k has 'y' | count", "[2]"),
            ("where log.k contains 'X' | count", "[1]"),
            ("where log.n[0] == 5 | count", "[1]"),
            ("where isnull(n) | count", "[1]"),
            ("where not(isempty(tag)) | count", "[3]"),
            ("where tolong(log.k) == 7 | count", "[1]"),
            ("project k = tostring(log['k'])", r#"["x y"],["y"],[""],["7"]"#),
            ("order by n asc | project n", "[null],[1],[2],[10]"),
            ("sort by n | project n | take 2", "[10],[2]"),
            ("order by tag asc, n desc | project tag, n", r#"["",null],["a",10],["a",1],["b",2]"#),
            ("summarize count() by tag", r#"["a",2],["b",1],["",1]"#),
            ("summarize n = count() by tag | where n > 1 | count", "[1]"),
            ("where tag == 'none' | summarize count()", "[0]"),
            ("count | where Count == 4", "[4]"),
        ] {
            assert_eq!(answer(query), expected, "{query}");
        }
    }

    #[test]
    fn a_column_that_is_not_there_is_named() {
        let columns = column_list("(tag:string)").unwrap();
        for (text, named) in [("T | where nope == 1", "'nope'"), ("T | project tag.x", "not dynamic")] {
            let query = parse::query(text).unwrap();
            let error = Stages::plan(&query.operators, columns.clone()).err().unwrap();
            assert!(error.contains(named), "{error}");
        }
    }
}
