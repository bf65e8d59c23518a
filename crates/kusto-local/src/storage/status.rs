//! The status queues and the status table of this server's own storage: "Get Messages", "Peek Messages", "Delete
//! Message", "Insert Entity", "Insert Or Replace Entity", "Merge Entity" and "Get Entity", as far as ingestion
//! clients use them. In memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use serde_json::Value;

use super::Refusal;
use crate::http::{self as web, Params, Reply};
use crate::{limits, secrets, stamp};

/// How long a message that was received stays hidden, unless the client says otherwise.
const HIDDEN: Duration = Duration::from_secs(30);

struct Message {
    id: String,
    text: String,
    visible_at: Instant,
    receipt: String,
    received: u64,
}

#[derive(Default)]
struct Inner {
    queues: HashMap<String, VecDeque<Message>>,
    entities: HashMap<(String, String), Value>,
    /// In the order of their making.
    order: VecDeque<(String, String)>,
}

/// All statuses.
#[derive(Default)]
pub(crate) struct Statuses(Mutex<Inner>);

impl Statuses {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message into a queue.
    pub(crate) fn post(&self, queue: &str, text: &str) {
        let message = Message {
            id: secrets::request_id(),
            text: STANDARD.encode(text),
            visible_at: Instant::now(),
            receipt: String::new(),
            received: 0,
        };
        let mut inner = self.inner();
        let queue = inner.queues.entry(queue.to_owned()).or_default();
        if queue.len() >= limits::STATUSES {
            queue.pop_front();
        }
        queue.push_back(message);
    }

    /// Merges an entity into the table. One that would become too large stays as it is; answers whether it did not.
    pub(crate) fn merge(&self, partition: &str, row: &str, entity: Value) -> bool {
        let key = (partition.to_owned(), row.to_owned());
        let mut inner = self.inner();
        if let (Some(Value::Object(old)), Value::Object(new)) = (inner.entities.get(&key), &entity) {
            let mut merged = old.clone();
            merged.extend(new.clone());
            let merged = Value::Object(merged);
            let fits = is_small(&merged);
            if fits {
                inner.entities.insert(key, merged);
            }
            return fits;
        }
        if !is_small(&entity) {
            return false;
        }
        if inner.order.len() >= limits::STATUSES
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.entities.remove(&oldest);
        }
        inner.order.push_back(key.clone());
        inner.entities.insert(key, entity);
        true
    }

    /// `GET /ACCOUNT/QUEUE/messages`, `DELETE /ACCOUNT/QUEUE/messages/ID`.
    pub(crate) fn serve_queue(
        &self,
        queue: &str,
        rest: &str,
        method: &Method,
        query: &Params,
    ) -> Result<Reply, Refusal> {
        let mut inner = self.inner();
        let queue = inner.queues.entry(queue.to_owned()).or_default();
        match (method.as_str(), rest.split_once('/')) {
            ("GET", None) => Ok(receive(queue, query)),
            ("DELETE", Some(("messages", id))) => {
                let receipt = query.get("popreceipt").unwrap_or_default();
                let before = queue.len();
                queue.retain(|message| message.id != id || message.receipt != receipt);
                if queue.len() == before {
                    let text = "The specified message does not exist.";
                    return Err(Refusal::new(StatusCode::NOT_FOUND, "MessageNotFound", text));
                }
                Ok(web::empty(StatusCode::NO_CONTENT))
            }
            _ => {
                let text = "kusto-local's status queues are read and emptied, and nothing else.";
                Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb", text))
            }
        }
    }

    /// A request to the table.
    pub(crate) fn serve_table(
        &self,
        keys: Option<(String, String)>,
        method: &Method,
        body: &[u8],
    ) -> Result<Reply, Refusal> {
        let given: Option<Value> = serde_json::from_slice(body).ok();
        let text = |entity: &Option<Value>, key: &str| {
            entity.as_ref().and_then(|entity| entity[key].as_str()).map(str::to_owned)
        };
        let keys = keys.or_else(|| Some((text(&given, "PartitionKey")?, text(&given, "RowKey")?)));
        let Some((partition, row)) = keys else {
            let text = "The request names no entity.";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "InvalidInput", text));
        };
        match (method.as_str(), given) {
            ("GET", _) => match self.inner().entities.get(&(partition, row)) {
                Some(entity) => Ok(web::json(StatusCode::OK, entity)),
                None => {
                    let text = "The specified resource does not exist.";
                    Err(Refusal::new(StatusCode::NOT_FOUND, "ResourceNotFound", text))
                }
            },
            ("POST" | "PUT" | "PATCH" | "MERGE", Some(entity)) => {
                if !self.merge(&partition, &row, entity) {
                    let text = "The entity is larger than allowed by the Table Service.";
                    return Err(Refusal::new(StatusCode::BAD_REQUEST, "EntityTooLarge", text));
                }
                let mut reply = web::empty(StatusCode::NO_CONTENT);
                web::set(&mut reply, "etag", "W/\"datetime'2026-01-01T00%3A00%3A00Z'\"");
                Ok(reply)
            }
            _ => {
                let text = "kusto-local's status table takes and gives single entities, and nothing else.";
                Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb", text))
            }
        }
    }
}

fn is_small(entity: &Value) -> bool {
    entity.to_string().len() <= limits::ENTITY_BYTES
}

fn receive(queue: &mut VecDeque<Message>, query: &Params) -> Reply {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<u64>().ok());
    let most = number("numofmessages").unwrap_or(1).min(32) as usize;
    let peek = query.get("peekonly").is_some_and(|peek| peek.eq_ignore_ascii_case("true"));
    let now = Instant::now();
    let hidden = number("visibilitytimeout").map_or(HIDDEN, Duration::from_secs).min(limits::HIDDEN);
    let mut xml = String::new();
    for message in queue.iter_mut().filter(|message| message.visible_at <= now).take(most) {
        let at = stamp::now();
        let mut fields = vec![
            ("MessageId", message.id.clone()),
            ("InsertionTime", stamp::http(at)),
            ("ExpirationTime", stamp::http(at + time::Duration::days(7))),
        ];
        if !peek {
            message.visible_at = now + hidden;
            message.receipt = secrets::request_id();
            message.received += 1;
            fields.push(("PopReceipt", message.receipt.clone()));
            fields.push(("TimeNextVisible", stamp::http(at + hidden)));
        }
        fields.push(("DequeueCount", message.received.to_string()));
        fields.push(("MessageText", message.text.clone()));
        let fields: String = fields.iter().map(|(tag, value)| format!("<{tag}>{value}</{tag}>")).collect();
        xml.push_str(&format!("<QueueMessage>{fields}</QueueMessage>"));
    }
    let xml =
        format!(r#"<?xml version="1.0" encoding="utf-8"?><QueueMessagesList>{xml}</QueueMessagesList>"#);
    web::answer(StatusCode::OK, "application/xml", xml)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_received_message_is_hidden_until_it_is_deleted_or_its_time_is_over() {
        let statuses = Statuses::default();
        statuses.post("q", "one");
        let none = Params::parse(b"");
        let visible = |query: &Params| {
            let mut inner = statuses.inner();
            let queue = inner.queues.get_mut("q").unwrap();
            let before: Vec<u64> = queue.iter().map(|message| message.received).collect();
            receive(queue, query);
            queue.iter().map(|message| message.received).ne(before)
        };
        assert!(!visible(&Params::parse(b"peekonly=true")));
        assert!(visible(&Params::parse(b"visibilitytimeout=0")));
        assert!(visible(&none));
        assert!(!visible(&none), "it is hidden now");
        // The longest time is seven days, whatever is asked for.
        assert!(!visible(&Params::parse(format!("visibilitytimeout={}", u64::MAX).as_bytes())));
        statuses.post("q", "two");
        assert!(visible(&Params::parse(format!("visibilitytimeout={}", u64::MAX).as_bytes())));
        let (id, receipt) = {
            let inner = statuses.inner();
            (inner.queues["q"][0].id.clone(), inner.queues["q"][0].receipt.clone())
        };
        let delete = |receipt: &str| {
            let query = Params::parse(format!("popreceipt={receipt}").as_bytes());
            statuses.serve_queue("q", &format!("messages/{id}"), &Method::DELETE, &query).is_ok()
        };
        assert!(!delete("other"));
        assert!(delete(&receipt) && statuses.inner().queues["q"].len() == 1);
    }

    #[test]
    fn entities_are_merged_and_given_back() {
        let statuses = Statuses::default();
        let keys = || Some(("p".to_owned(), "r".to_owned()));
        assert!(statuses.serve_table(keys(), &Method::GET, b"").is_err());
        let first = br#"{"PartitionKey":"p","RowKey":"r","Status":"Pending","Id":1}"#;
        statuses.serve_table(None, &Method::POST, first).unwrap();
        statuses.merge("p", "r", serde_json::json!({"Status": "Succeeded"}));
        assert!(statuses.serve_table(keys(), &Method::GET, b"").is_ok());
        let large = serde_json::json!({"Details": "x".repeat(limits::ENTITY_BYTES)});
        assert!(!statuses.merge("p", "r", large.clone()) && !statuses.merge("p", "s", large));
        let inner = statuses.inner();
        let entity = &inner.entities[&("p".to_owned(), "r".to_owned())];
        assert_eq!((&entity["Status"], &entity["Id"]), (&Value::from("Succeeded"), &Value::from(1)));
    }
}
