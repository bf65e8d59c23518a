//! Scripted faults: a test tells the server which of the next requests go wrong, and how.
//!
//! `POST /faults` adds one, `GET /faults` lists them with what is left of each, `DELETE /faults` clears:
//!
//! ```json
//! {"kind": "queue", "status": 503, "count": 3, "skip": 1, "retry_after": 2}
//! ```
//!
//! | field | meaning | default |
//! |---|---|---|
//! | `kind` | `token`, `mgmt`, `blob`, `queue`, `query`, `stream` or `any` | must be given |
//! | `account` | only requests to this storage account | all |
//! | `count` | so many requests fail | 1 |
//! | `skip` | so many pass before | 0 |
//! | `status` | answer this status (400-599) in the error form of the kind, without doing the work | none |
//! | `retry_after` | a `Retry-After` header with `status`, in seconds | none |
//! | `permanent` | the `@permanent` of a Kusto error with `status` | 4xx except 408 and 429 |
//! | `code` | the code of a Kusto error with `status` | one that fits the status |
//! | `delay_ms` | wait so long first; alone it only delays | 0 |
//! | `reset` | close the TCP connection abruptly (RST), without doing the work | false |
//! | `hang` | never answer, without doing the work | false |
//! | `truncate` | do the work, but break the connection inside the answer | false |
//!
//! The first fault in the list which matches a request is used up by one; at most one of `status`, `reset`,
//! `hang` and `truncate` may be given.

use std::sync::{Mutex, PoisonError};

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::http::{self as web, Reply};
use crate::limits;

/// The kinds of requests faults and counters tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Token,
    Mgmt,
    Blob,
    Queue,
    Query,
    Stream,
}

impl Kind {
    /// All kinds, in the order of their discriminants.
    pub(crate) const ALL: [Self; 6] =
        [Self::Token, Self::Mgmt, Self::Blob, Self::Queue, Self::Query, Self::Stream];
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Match {
    Token,
    Mgmt,
    Blob,
    Queue,
    Query,
    Stream,
    Any,
}

impl Match {
    fn covers(self, kind: Kind) -> bool {
        match self {
            Self::Any => true,
            Self::Token => kind == Kind::Token,
            Self::Mgmt => kind == Kind::Mgmt,
            Self::Blob => kind == Kind::Blob,
            Self::Queue => kind == Kind::Queue,
            Self::Query => kind == Kind::Query,
            Self::Stream => kind == Kind::Stream,
        }
    }
}

/// One scripted fault; the fields are in the table above.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    kind: Match,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(default)]
    pub(crate) status: Option<u16>,
    #[serde(default)]
    pub(crate) delay_ms: u64,
    #[serde(default)]
    pub(crate) reset: bool,
    #[serde(default)]
    pub(crate) hang: bool,
    #[serde(default)]
    pub(crate) truncate: bool,
    #[serde(default = "one")]
    count: u64,
    #[serde(default)]
    skip: u64,
    #[serde(default)]
    pub(crate) retry_after: Option<u64>,
    #[serde(default)]
    pub(crate) permanent: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
}

fn one() -> u64 {
    1
}

impl Fault {
    fn check(&self) -> Result<(), String> {
        let ways = [self.status.is_some(), self.reset, self.hang, self.truncate];
        match ways.iter().filter(|way| **way).count() {
            0 if self.delay_ms == 0 => {
                return Err("give one of status, delay_ms, reset, hang, truncate".to_owned());
            }
            0 | 1 => {}
            _ => return Err("give only one of status, reset, hang, truncate".to_owned()),
        }
        if self.delay_ms > limits::FAULT_DELAY_MS {
            return Err(format!("delay_ms is at most {}", limits::FAULT_DELAY_MS));
        }
        if self.status.is_some_and(|status| !(400..600).contains(&status)) {
            return Err("status must be 400-599".to_owned());
        }
        Ok(())
    }
}

/// The script.
#[derive(Default)]
pub(crate) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    /// Takes the fault for the next request of one kind.
    pub(crate) fn next(&self, kind: Kind, account: Option<&str>) -> Option<Fault> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let meant = |fault: &Fault| fault.account.is_none() || fault.account.as_deref() == account;
        for fault in faults.iter_mut().filter(|fault| fault.kind.covers(kind) && fault.count > 0) {
            if !meant(fault) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            fault.count -= 1;
            return Some(fault.clone());
        }
        None
    }

    /// `POST /faults`.
    pub(crate) fn add(&self, body: &[u8]) -> Reply {
        let fault = serde_json::from_slice::<Fault>(body).map_err(|error| error.to_string());
        let fault = match fault.and_then(|fault| fault.check().map(|()| fault)) {
            Ok(fault) => fault,
            Err(message) => return web::json(StatusCode::BAD_REQUEST, &json!({ "error": message })),
        };
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() >= limits::FAULTS {
            faults.retain(|fault| fault.count > 0);
        }
        if faults.len() >= limits::FAULTS {
            let message = format!("{} faults are scripted; DELETE /faults first", limits::FAULTS);
            return web::json(StatusCode::CONFLICT, &json!({ "error": message }));
        }
        faults.push(fault.clone());
        web::json(StatusCode::CREATED, &json!(fault))
    }

    /// `GET /faults`: `count` and `skip` are what is left.
    pub(crate) fn list(&self) -> Reply {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        web::json(StatusCode::OK, &json!(*faults))
    }

    /// `DELETE /faults`.
    pub(crate) fn clear(&self) -> Reply {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
        web::empty(StatusCode::NO_CONTENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_skips_then_fires_as_often_as_it_says() {
        let faults = Faults::default();
        let reply = faults.add(br#"{"kind":"blob","status":503,"skip":1,"count":2}"#);
        assert_eq!(reply.status(), StatusCode::CREATED);
        assert!(faults.next(Kind::Queue, None).is_none());
        let fired: Vec<bool> = (0..5).map(|_| faults.next(Kind::Blob, Some("a")).is_some()).collect();
        assert_eq!(fired, [false, true, true, false, false]);
    }

    #[test]
    fn a_fault_which_makes_no_sense_is_refused() {
        let faults = Faults::default();
        for body in [
            r#"{"kind":"blob"}"#,
            r#"{"kind":"blob","status":200}"#,
            r#"{"kind":"blob","status":503,"reset":true}"#,
            r#"{"kind":"table","status":503}"#,
            r#"{"kind":"blob","statsu":503}"#,
            "",
        ] {
            assert_eq!(faults.add(body.as_bytes()).status(), StatusCode::BAD_REQUEST, "{body}");
        }
    }
}
