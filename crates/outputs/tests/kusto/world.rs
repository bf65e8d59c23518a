//! A server, an output that is pointed at it, and a client to ask the server with.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::common;
use engine::{Batch, Outcome, Output, OutputLane, Setup};
use http::Request;
use kusto_local::{Options, Server};
use net::client::{Body, Client, Settings, Tls, TrustOptions};
use serde_json::{Value, json};

/// Far more than any test needs; a test that reaches it has failed.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A server, an output that is pointed at it, and a client to ask the server with.
pub struct World {
    pub output: Arc<dyn Output>,
    pub server: Server,
    pub setup: Setup,
    pub lane: Rc<dyn OutputLane>,
    pub client: Client,
    _dir: tempfile::TempDir,
}

impl World {
    pub fn new(change: impl FnOnce(&mut Options), pairs: &[(&str, &str)]) -> World {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path());
        change(&mut options);
        let server = Server::start(options).unwrap();
        let endpoint = server.endpoint();
        let ca_file = endpoint.ca_file.clone().unwrap();
        let ca_file = ca_file.to_str().unwrap();
        let all = [
            ("name", "azure_kusto"),
            ("tenant_id", endpoint.tenant_id.as_str()),
            ("client_id", &endpoint.client_id),
            ("client_secret", &endpoint.client_secret),
            ("authority_host", &endpoint.authority_host),
            ("ingestion_endpoint", &endpoint.ingestion_endpoint),
            ("database_name", &endpoint.database),
            ("table_name", "Logs"),
            ("tls.ca_file", ca_file),
        ];
        // What a test sets itself replaces what is set here.
        let kept = all.into_iter().filter(|(key, _)| pairs.iter().all(|(other, _)| other != key));
        let pairs: Vec<_> = kept.chain(pairs.iter().copied()).skip(1).collect();
        let setup = common::setup();
        let output = common::open(&outputs::azure_kusto::DEF, &setup, &pairs).unwrap();
        let trust = TrustOptions { ca_file: Some(ca_file.to_owned()), ..TrustOptions::default() };
        let tls = Some(Tls::trusting(&trust).unwrap());
        let client = Client::new(Settings { tls, idle: 0, response_bytes: 8 << 20, ..Settings::default() });
        output.start().unwrap();
        let lane = Rc::from(Arc::clone(&output).lane());
        World { output, server, setup, lane, client, _dir: dir }
    }

    pub async fn flush(&self, batch: &Batch) -> Outcome {
        tokio::time::timeout(DEADLINE, self.lane.flush(batch)).await.expect("a flush ends")
    }

    pub async fn ask(&self, method: &str, path: &str, body: &str, token: Option<&str>) -> Value {
        let url = format!("{}{path}", self.server.endpoint().ingestion_endpoint);
        let mut request =
            Request::builder().method(method).uri(url).header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = self.client.send(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        assert!(response.status().is_success(), "{path}: {response:?}");
        serde_json::from_slice(response.body()).unwrap_or(Value::Null)
    }

    /// Makes the next requests fail.
    pub async fn fault(&self, fault: Value) {
        self.ask("POST", "/faults", &fault.to_string(), None).await;
    }

    /// A figure of the output's own, by the end of its name and its label's value.
    pub fn figure(&self, name: &str, label: &str) -> u64 {
        let name = format!("weir_azure_kusto_{name}");
        let figures = self.output.figures();
        let is_meant = |figure: &&engine::Figure| {
            figure.name == name && figure.label.map_or("", |(_, value)| value) == label
        };
        figures.iter().find(is_meant).unwrap_or_else(|| panic!("{name} {label}")).value
    }

    /// The server's counters.
    pub async fn stats(&self) -> Value {
        self.ask("GET", "/local/stats", "", None).await
    }

    /// Runs a command as an administrator of the cluster.
    pub async fn command(&self, text: &str) {
        let body = json!({"db": "local", "csl": text}).to_string();
        self.ask("POST", "/v1/rest/mgmt", &body, Some(&self.token().await)).await;
    }

    /// Asks as an administrator; the rows.
    pub async fn shown(&self, text: &str) -> Vec<Value> {
        let body = json!({"db": "local", "csl": text}).to_string();
        let answer = self.ask("POST", "/v1/rest/mgmt", &body, Some(&self.token().await)).await;
        answer["Tables"][0]["Rows"].as_array().unwrap().clone()
    }

    /// Waits until so many messages were dealt with, and gives what became of them.
    pub async fn ingestions(&self, count: usize) -> Vec<Value> {
        let asked = async {
            loop {
                let answer = self.ask("GET", "/local/ingestions", "", None).await;
                let records =
                    answer.as_array().or(answer["ingestions"].as_array()).cloned().unwrap_or_default();
                if records.len() >= count {
                    return records;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, asked).await.expect("the messages are dealt with")
    }

    pub async fn token(&self) -> String {
        let endpoint = self.server.endpoint();
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope=https%3A%2F%2Fkusto.kusto.windows.net%2F.default",
            endpoint.client_id,
            endpoint.client_secret.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>()
        );
        let url = format!("{}/{}/oauth2/v2.0/token", endpoint.authority_host, endpoint.tenant_id);
        let request = Request::post(url).header("content-type", "application/x-www-form-urlencoded");
        let response = self.client.send(request.body(Body::from(form)).unwrap()).await.unwrap();
        let token: Value = serde_json::from_slice(response.body()).unwrap();
        token["access_token"].as_str().unwrap().to_owned()
    }

    /// What the table holds, as the rows of a query.
    pub async fn rows(&self) -> Vec<Value> {
        let query = json!({"db": self.server.endpoint().database, "csl": "Logs"}).to_string();
        let answer = self.ask("POST", "/v1/rest/query", &query, Some(&self.token().await)).await;
        answer["Tables"][0]["Rows"].as_array().unwrap().clone()
    }
}

pub fn why(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Done => "",
        Outcome::Retry { why, .. }
        | Outcome::Hold { why }
        | Outcome::Reject { why }
        | Outcome::Split { why } => why,
    }
}
