use super::*;

const LONG: usize = 900;

fn found(body: &str) -> Result<(Vec<String>, Vec<String>), String> {
    let table = Table::parse(body.as_bytes()).ok_or("not understood")?;
    let texts = |urls: Vec<Url>| urls.into_iter().map(String::from).collect::<Vec<_>>();
    locations(&table).map(|(containers, queues)| (texts(containers), texts(queues)))
}

fn frame(columns: [&str; 2], rows: &[[&str; 2]]) -> String {
    let columns: Vec<_> = columns
        .iter()
        .map(|name| serde_json::json!({"ColumnName": name, "DataType": "String", "ColumnType": "string"}))
        .collect();
    serde_json::json!({"Tables": [{"TableName": "Table_0", "Columns": columns, "Rows": rows}]}).to_string()
}

#[test]
fn resources_are_read_by_the_names_of_columns_and_unknown_kinds_are_passed_over() {
    let sas = "x".repeat(LONG);
    let container = format!("https://a.z11.blob.storage.azure.net/c?sig={sas}");
    let queue = format!("https://a.queue.core.windows.net/q?sig={sas}");
    let in_order = frame(
        ["ResourceTypeName", "StorageRoot"],
        &[
            ["TempStorage", &container],
            ["SomethingNew", "anything"],
            ["IngestionsStatusTable", "https://t"],
            ["SecuredReadyForAggregationQueue", &queue],
            ["TempStorage", "not a url"],
        ],
    );
    let swapped = frame(
        ["StorageRoot", "ResourceTypeName"],
        &[[&queue, "SecuredReadyForAggregationQueue"], [&container, "TempStorage"]],
    );
    for body in [in_order, swapped] {
        assert_eq!(found(&body).unwrap(), (vec![container.clone()], vec![queue.clone()]));
    }
}

#[test]
fn an_answer_without_container_or_queue_says_which_is_missing() {
    let names = ["ResourceTypeName", "StorageRoot"];
    let queue = ["SecuredReadyForAggregationQueue", "https://q/q?s"];
    for (body, expected) in [
        (frame(names, &[queue]), "the cluster named no container (TempStorage)"),
        (
            frame(names, &[["TempStorage", "https://c/c?s"]]),
            "the cluster named no queue (SecuredReadyForAggregationQueue)",
        ),
        (frame(["A", "B"], &[queue]), "the cluster named no container (TempStorage)"),
        // Signatures do not travel in clear.
        (
            frame(names, &[queue, ["TempStorage", "http://c.example/c?sig=x"]]),
            "the cluster named no container (TempStorage)",
        ),
        (r#"{"Tables":[]}"#.to_owned(), "not understood"),
        ("<html>".to_owned(), "not understood"),
    ] {
        assert_eq!(found(&body).unwrap_err(), expected);
    }
}

#[test]
fn a_short_row_is_passed_over() {
    let body = r#"{"Tables":[{"Columns":[{"ColumnName":"ResourceTypeName"},{"ColumnName":"StorageRoot"}],
        "Rows":[["TempStorage"],[null,7],["TempStorage","https://c/c"],
        ["SecuredReadyForAggregationQueue","https://q/q"]]}]}"#;
    assert_eq!(found(body).unwrap(), (vec!["https://c/c".to_owned()], vec!["https://q/q".to_owned()]));
}

#[test]
fn a_place_is_found_under_a_new_signature() {
    let url = |text| Url::parse(text).unwrap();
    let resources = Resources {
        containers: vec![url("https://a/c1?sig=new"), url("https://a/c2?sig=new")],
        queues: vec![url("https://a/q")],
        context: Secret::new("ctx"),
        number: 1,
    };
    let place = place_of(&url("https://a/c2?sig=old"));
    assert_eq!(resources.container_at(&place).unwrap().query(), Some("sig=new"));
    assert!(resources.container_at("https://a/gone").is_none());
    assert!(!format!("{resources:?}").contains("sig"));
}
