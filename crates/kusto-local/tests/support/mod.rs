//! A client for the tests: `curl` as the HTTP client, so that the server is not only checked against the
//! library it is written with.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kusto_local::{Endpoint, Server};
use serde_json::{Value, json};

pub const SCOPE: &str = "https://kusto.kusto.windows.net/.default";
/// Far more than any test needs; a test which reaches it has failed.
const DEADLINE: Duration = Duration::from_secs(60);

pub struct Answer {
    /// 0 when there was no whole answer.
    pub status: u16,
    pub headers: String,
    pub body: Vec<u8>,
    /// curl's exit code.
    pub exit: i32,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn has_header(&self, line: &str) -> bool {
        self.headers.to_lowercase().contains(&line.to_lowercase())
    }
}

pub struct Client {
    pub endpoint: Endpoint,
    scratch: tempfile::TempDir,
}

impl Client {
    pub fn new(endpoint: &Endpoint) -> Self {
        Self { endpoint: endpoint.clone(), scratch: tempfile::tempdir().unwrap() }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.endpoint.ingestion_endpoint)
    }

    /// Runs curl with a body on its standard input, which `@-` in the arguments names.
    pub fn curl(&self, arguments: &[&str], body: &[u8]) -> Answer {
        let file = |name: &str| -> PathBuf { self.scratch.path().join(name) };
        let _ = std::fs::remove_file(file("body"));
        let mut command = Command::new("curl");
        command.args(["--silent", "--max-time", "60", "--write-out", "%{http_code}"]);
        command.arg("--output").arg(file("body")).arg("--dump-header").arg(file("headers"));
        if let Some(ca) = &self.endpoint.ca_file {
            command.arg("--cacert").arg(ca);
        }
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // curl may not read its input, when the connection fails.
        let _ = child.stdin.take().unwrap().write_all(body);
        let output = child.wait_with_output().unwrap();
        Answer {
            status: String::from_utf8_lossy(&output.stdout).parse().unwrap(),
            headers: String::from_utf8_lossy(&std::fs::read(file("headers")).unwrap_or_default())
                .into_owned(),
            body: std::fs::read(file("body")).unwrap_or_default(),
            exit: output.status.code().unwrap(),
        }
    }

    pub fn get(&self, url: &str) -> Answer {
        self.curl(&[url], b"")
    }

    pub fn ask_token(&self, tenant: &str, id: &str, secret: &str, scope: &str) -> Answer {
        let url = self.url(&format!("/{tenant}/oauth2/v2.0/token"));
        let fields = [
            "grant_type=client_credentials".to_owned(),
            format!("client_id={id}"),
            format!("client_secret={secret}"),
            format!("scope={scope}"),
        ];
        let mut arguments = vec![url.as_str()];
        for field in &fields {
            arguments.extend(["--data-urlencode", field]);
        }
        self.curl(&arguments, b"")
    }

    pub fn token(&self) -> String {
        let endpoint = &self.endpoint;
        let answer = self.ask_token(&endpoint.tenant_id, &endpoint.client_id, &endpoint.client_secret, SCOPE);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        assert_eq!(answer["token_type"], "Bearer");
        answer["access_token"].as_str().unwrap().to_owned()
    }

    pub fn command(&self, path: &str, token: &str, db: &str, csl: &str) -> Answer {
        let authorization = format!("Authorization: Bearer {token}");
        let body = json!({ "db": db, "csl": csl }).to_string();
        let headers = ["-H", &authorization, "-H", "Content-Type: application/json"];
        let url = self.url(path);
        let arguments: Vec<&str> = headers
            .into_iter()
            .chain(["-H", "x-ms-client-request-id: test;1", "--data-binary", "@-", &url])
            .collect();
        self.curl(&arguments, body.as_bytes())
    }

    pub fn mgmt(&self, csl: &str) -> Answer {
        self.command("/v1/rest/mgmt", &self.token(), "NetDefaultDB", csl)
    }

    pub fn query(&self, csl: &str) -> Answer {
        self.command("/v2/rest/query", &self.token(), "local", csl)
    }

    /// Everything an ingestion client asks for before its first upload.
    pub fn resources(&self) -> Resources {
        let answer = self.mgmt(".get ingestion resources");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        let urls = |kind: &str| -> Vec<String> {
            let rows = answer["Tables"][0]["Rows"].as_array().unwrap();
            rows.iter().filter(|row| row[0] == kind).map(|row| row[1].as_str().unwrap().to_owned()).collect()
        };
        let token = self.mgmt(".get kusto identity token").json();
        Resources {
            containers: urls("TempStorage"),
            queues: urls("SecuredReadyForAggregationQueue"),
            identity: token["Tables"][0]["Rows"][0][0].as_str().unwrap().to_owned(),
        }
    }

    pub fn put_blob(&self, url: &str, body: &[u8]) -> Answer {
        self.curl(
            &["-X", "PUT", "-H", "x-ms-blob-type: BlockBlob", "-H", "Expect:", "--data-binary", "@-", url],
            body,
        )
    }

    pub fn post_text(&self, queue: &str, text: &str) -> Answer {
        let xml = format!("<QueueMessage><MessageText>{text}</MessageText></QueueMessage>");
        let url = queue.replacen('?', "/messages?", 1);
        self.curl(&["-H", "Content-Type: application/xml", "--data-binary", "@-", &url], xml.as_bytes())
    }

    pub fn post(&self, queue: &str, message: &Value) -> Answer {
        self.post_text(queue, &STANDARD.encode(message.to_string()))
    }

    pub fn fault(&self, fault: Value) {
        let answer = self.curl(&["--data-binary", "@-", &self.url("/faults")], fault.to_string().as_bytes());
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    pub fn stats(&self) -> Value {
        self.get(&self.url("/local/stats")).json()
    }

    /// Waits until `count` messages are dealt with; the records of all.
    pub fn ingestions(&self, count: usize) -> Vec<Value> {
        let start = Instant::now();
        loop {
            let records = self.get(&self.url("/local/ingestions")).json();
            let records = records.as_array().unwrap();
            if records.len() >= count && self.stats()["queued"] == 0 {
                return records.clone();
            }
            assert!(start.elapsed() < DEADLINE, "{} of {count} ingestions after {DEADLINE:?}", records.len());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub struct Resources {
    pub containers: Vec<String>,
    pub queues: Vec<String>,
    pub identity: String,
}

impl Resources {
    /// URL of a blob in one of the containers, with its signature.
    pub fn blob(&self, container: usize, name: &str) -> String {
        self.containers[container].replacen('?', &format!("/{name}?"), 1)
    }

    /// A message without fault for the table `Logs`.
    pub fn message(&self, blob: &str, raw_size: usize) -> Value {
        json!({
            "Id": "5f6bd0f8-91a5-4c8e-8f4c-1c7b6d1f0a01",
            "BlobPath": blob,
            "RawDataSize": raw_size,
            "DatabaseName": "local",
            "TableName": "Logs",
            "RetainBlobOnSuccess": false,
            "FlushImmediately": false,
            "AdditionalProperties": { "authorizationContext": self.identity, "format": "json" },
        })
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Stops one server and starts another on the same folder.
pub fn restart(server: Server, options: &kusto_local::Options) -> (Server, Client) {
    server.shutdown();
    let server = Server::start(options.clone()).unwrap();
    let client = Client::new(server.endpoint());
    (server, client)
}
