//! Weir's requests and messages beside those of Microsoft's SDK for Python, for the same rows: what both send, what only
//! one of them does, and that nothing else differs. The reasons are in docs/kusto.md.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::kusto::{Kusto, TO_KUSTO};

/// Sends the lines of standard input as the SDK does, with what the environment says.
const SDK: &str = r#"
import io, json, os, sys, urllib.parse, urllib.request, uuid
from azure.kusto.data import KustoConnectionStringBuilder
from azure.kusto.data.data_format import DataFormat
from azure.kusto.ingest import FileDescriptor, IngestionProperties, KustoStreamingIngestClient, QueuedIngestClient, StreamDescriptor

said = dict(line.split("=", 1) for line in os.environ["SAID"].splitlines())
form = dict(grant_type="client_credentials", client_id=said["client_id"], client_secret=said["client_secret"],
            scope="https://kusto.kusto.windows.net/.default")

def token():
    url = f"{said['authority_host']}/{said['tenant_id']}/oauth2/v2.0/token"
    return json.load(urllib.request.urlopen(url, urllib.parse.urlencode(form).encode()))["access_token"]

builder = KustoConnectionStringBuilder.with_token_provider(said["ingestion_endpoint"], token)
properties = IngestionProperties(database=said["database"], table="Logs", data_format=DataFormat.JSON)
path = os.environ["LINES"]
with QueuedIngestClient(builder) as client:
    client.ingest_from_file(FileDescriptor(path, size=os.path.getsize(path)), properties)
with KustoStreamingIngestClient(builder) as client:
    client.ingest_from_stream(StreamDescriptor(open(path, "rb")), properties)
"#;

fn python() -> std::path::PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/kusto-sdk/bin/python");
    assert!(python.exists(), "Microsoft's SDKs are not installed: run `cargo x tools` (or `cargo x test`)");
    python
}

/// By kind of request: names of headers and of what the query has, and the method.
fn requests(kusto: &Kusto) -> BTreeMap<String, Value> {
    let seen = kusto.ask("/local/requests");
    let mut by_kind = BTreeMap::new();
    for request in seen.as_array().unwrap() {
        by_kind.insert(request["kind"].as_str().unwrap().to_owned(), request.clone());
    }
    by_kind
}

fn names(value: &Value) -> Vec<String> {
    value.as_object().map(|members| members.keys().cloned().collect()).unwrap_or_default()
}

/// Names that only the first has, and only the second.
fn only(first: &[String], second: &[String]) -> (Vec<String>, Vec<String>) {
    let not_in =
        |one: &[String], other: &[String]| one.iter().filter(|name| !other.contains(name)).cloned().collect();
    (not_in(first, second), not_in(second, first))
}

/// Both clients send the same row into servers of their own.
fn both() -> (Kusto, Kusto) {
    let streaming = |options: &mut kusto_local::Options| options.streaming = true;
    let (ours, theirs) = (Kusto::start_with(streaming), Kusto::start_with(streaming));
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("lines.json");
    std::fs::write(&lines, "{\"tag\":\"a\",\"timestamp\":\"2026-11-23T20:41:07.000Z\",\"log\":{\"n\":0}}\n")
        .unwrap();
    let mut sdk = Command::new(python());
    sdk.args(["-c", SDK]).env("SAID", theirs.server.endpoint().to_string()).env("LINES", &lines);
    let authority = theirs.server.endpoint().ca_file.clone().unwrap();
    sdk.env("REQUESTS_CA_BUNDLE", &authority).env("SSL_CERT_FILE", &authority);
    let output = sdk.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    theirs.wait_for_rows(2);
    for options in [vec![], vec![("streaming_ingestion_enabled", "on")]] {
        let weir = ours.weir_with(TO_KUSTO, &options, &[]);
        Kusto::post_numbers(&weir, 0, 1, 1);
        weir.wait_for("fluentbit_output_proc_records_total", "azure_kusto.0", 1);
        weir.stop();
    }
    ours.wait_for_rows(2);
    (ours, theirs)
}

#[test]
fn requests_and_messages_have_the_fields_of_the_sdk_s_and_differ_only_where_it_is_meant() {
    let (ours, theirs) = both();
    let message = |kusto: &Kusto| kusto.ask("/local/ingestions")[0]["message"].clone();
    let (our_message, their_message) = (message(&ours), message(&theirs));
    let (more, less) = only(&names(&our_message), &names(&their_message));
    assert_eq!(more, Vec::<String>::new());
    // The service's own values are meant: blobs go after their ingestion, failures are reported, sizes are limited.
    let left_out = [
        "FlushImmediately",
        "IgnoreSizeLimit",
        "ReportLevel",
        "ReportMethod",
        "RetainBlobOnSuccess",
        "SourceMessageCreationTime",
    ];
    assert_eq!(less, left_out);
    for name in ["DatabaseName", "TableName"] {
        assert_eq!(our_message[name], their_message[name], "{name}");
    }
    for message in [&our_message, &their_message] {
        assert!(message["RawDataSize"].as_u64().unwrap() > 50, "{message}");
        assert_eq!(message["Id"].as_str().unwrap().len(), 36, "{message}");
        assert!(message["BlobPath"].as_str().unwrap().ends_with(".json.gz"), "{message}");
    }
    let properties = "AdditionalProperties";
    let (more, less) = only(&names(&our_message[properties]), &names(&their_message[properties]));
    assert_eq!((more, less), (vec![], vec![]));
    assert_eq!(our_message[properties], their_message[properties]);

    let (ours, theirs) = (requests(&ours), requests(&theirs));
    // Theirs are those of the HTTP library, and statements about the machine.
    let general = ["accept-encoding", "connection", "user-agent", "transfer-encoding", "content-length"];
    let mut found = Vec::new();
    for kind in ["mgmt", "stream", "blob", "queue"] {
        let (our, their) = (&ours[kind], &theirs[kind]);
        let list = |request: &Value| -> Vec<String> {
            let query = request["query"]
                .as_array()
                .unwrap()
                .iter()
                .map(|name| format!("?{}", name.as_str().unwrap()));
            let headers = names(&request["headers"]).into_iter();
            let headers = headers.filter(|name| !general.contains(&name.as_str()));
            query.chain(headers).chain([request["method"].as_str().unwrap().to_owned()]).collect()
        };
        let (more, less) = only(&list(our), &list(their));
        found.push(format!("{kind}: +{} -{}", more.join(","), less.join(",")));
        for header in ["x-ms-blob-type", "content-encoding"] {
            assert_eq!(our["headers"][header], their["headers"][header], "{kind} {header}");
        }
    }
    let expected = [
        "mgmt: + -x-ms-user,x-ms-version",
        "stream: +content-type -x-ms-user,x-ms-version",
        "blob: + -?timeout,accept,x-ms-date",
        "queue: + -?timeout,x-ms-date",
    ];
    assert_eq!(found, expected);
}
