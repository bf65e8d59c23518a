//! Errors and result sets of the Kusto REST API.
//!
//! Errors follow "OneApiErrors" in Microsoft's REST API Guidelines with Kusto's `@` fields; result sets
//! follow "Query/management HTTP response" (V1: `Tables`) and "Query V2 HTTP response" (V2: a list of
//! frames).

use http::StatusCode;
use serde_json::{Value, json};

use crate::engine::schema::{Column, ColumnType};
use crate::http::{self as web, Reply};
use crate::stamp;

/// An error the service reports, before it knows which request it answers.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    /// Short code, such as `BadRequest_SyntaxError`.
    pub(crate) code: String,
    pub(crate) message: String,
    /// False when the same request may succeed later.
    pub(crate) permanent: bool,
}

impl Failure {
    /// 400: the same request will always fail.
    pub(crate) fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: code.to_owned(),
            message: message.into(),
            permanent: true,
        }
    }

    /// 500: this server could not do its work, for instance on a full disk.
    pub(crate) fn internal(error: &std::io::Error) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: "General_InternalServerError".to_owned(),
            message: error.to_string(),
            permanent: false,
        }
    }
}

/// Identification of one request, echoed in headers and error bodies.
pub(crate) struct Ids {
    pub(crate) client_request: String,
    pub(crate) activity: String,
}

/// Writes a [`Failure`] as the service does.
pub(crate) fn error(failure: &Failure, ids: &Ids) -> Reply {
    let kind = match failure.status.as_u16() {
        401 | 403 => "Kusto.Data.Exceptions.KustoUnauthorizedException",
        404 => "Kusto.Data.Exceptions.KustoNotFoundException",
        413 => "Kusto.Data.Exceptions.KustoRequestPayloadTooLargeException",
        429 => "Kusto.Data.Exceptions.KustoRequestThrottledException",
        400..500 => "Kusto.Data.Exceptions.KustoBadRequestException",
        _ => "Kusto.Data.Exceptions.KustoServiceErrorException",
    };
    web::json(
        failure.status,
        &json!({ "error": {
            "code": failure.code,
            "message": failure.message,
            "@type": kind,
            "@message": failure.message,
            "@failureCode": failure.status.as_u16(),
            "@context": {
                "timestamp": stamp::ticks(stamp::now()),
                "serviceAlias": "KUSTO-LOCAL",
                "clientRequestId": ids.client_request,
                "activityId": ids.activity,
                "subActivityId": ids.activity,
                "activityType": "Request",
                "parentActivityId": ids.activity,
            },
            "@permanent": failure.permanent,
        }}),
    )
}

/// A result set: columns, and rows already written as JSON arrays separated by commas.
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: String,
}

impl Table {
    /// A small table of values made here.
    pub(crate) fn new(columns: &[(&str, ColumnType)], rows: &[Value]) -> Self {
        let columns =
            columns.iter().map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind }).collect();
        let rows = rows.iter().map(Value::to_string).collect::<Vec<_>>().join(",");
        Self { columns, rows }
    }
}

/// The V1 form: one table named `Table_0`.
pub(crate) fn v1(table: &Table) -> Reply {
    let columns: Vec<Value> = table
        .columns
        .iter()
        .map(|column| {
            json!({
                "ColumnName": column.name,
                "DataType": column.kind.clr(),
                "ColumnType": column.kind.name(),
            })
        })
        .collect();
    let columns = Value::from(columns);
    let rows = &table.rows;
    let body = format!(r#"{{"Tables":[{{"TableName":"Table_0","Columns":{columns},"Rows":[{rows}]}}]}}"#);
    web::answer(StatusCode::OK, "application/json", body)
}

/// The V2 form: header, query properties, the result, completion information, completion.
pub(crate) fn v2(table: &Table, ids: &Ids) -> Reply {
    let columns: Vec<Value> = table.columns.iter().map(v2_column).collect();
    let columns = Value::from(columns);
    let properties = json!({
        "FrameType": "DataTable", "TableId": 0, "TableKind": "QueryProperties",
        "TableName": "@ExtendedProperties",
        "Columns": v2_columns(&[("TableId", "int"), ("Key", "string"), ("Value", "dynamic")]),
        "Rows": [[1, "Visualization", "{\"Visualization\":null}"]],
    });
    let frames = [
        r#"{"FrameType":"DataSetHeader","IsProgressive":false,"Version":"v2.0"}"#.to_owned(),
        properties.to_string(),
        format!(
            r#"{{"FrameType":"DataTable","TableId":1,"TableKind":"PrimaryResult","TableName":"PrimaryResult",{}}}"#,
            format_args!(r#""Columns":{columns},"Rows":[{}]"#, table.rows)
        ),
        completion(ids).to_string(),
        r#"{"FrameType":"DataSetCompletion","HasErrors":false,"Cancelled":false}"#.to_owned(),
    ];
    web::answer(StatusCode::OK, "application/json", format!("[{}]", frames.join(",")))
}

fn completion(ids: &Ids) -> Value {
    let columns = v2_columns(&[
        ("Timestamp", "datetime"),
        ("ClientRequestId", "string"),
        ("ActivityId", "guid"),
        ("SubActivityId", "guid"),
        ("ParentActivityId", "guid"),
        ("Level", "int"),
        ("LevelName", "string"),
        ("StatusCode", "int"),
        ("StatusCodeName", "string"),
        ("EventType", "int"),
        ("EventTypeName", "string"),
        ("Payload", "string"),
    ]);
    let activity = &ids.activity;
    json!({
        "FrameType": "DataTable", "TableId": 2, "TableKind": "QueryCompletionInformation",
        "TableName": "QueryCompletionInformation",
        "Columns": columns,
        "Rows": [[
            stamp::ticks(stamp::now()), ids.client_request, activity, activity, activity,
            4, "Info", 0, "S_OK (0)", 4, "QueryInfo", "{\"Count\":1,\"Text\":\"Query completed successfully\"}",
        ]],
    })
}

fn v2_column(column: &Column) -> Value {
    json!({ "ColumnName": column.name, "ColumnType": column.kind.name() })
}

fn v2_columns(columns: &[(&str, &str)]) -> Vec<Value> {
    columns.iter().map(|(name, kind)| json!({ "ColumnName": name, "ColumnType": kind })).collect()
}
