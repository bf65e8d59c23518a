//! What is sent: one payload in several sizes, and the same with a key that no other request has.
//!
//! Sizes differ by repeating the same records (or by padding), never by new ones: a server that remembers what it
//! has seen must not grow with the size. Keys differ in every string and number of the payload, so that it does
//! not matter which of them the server looks at.

use serde_json::{Value, json};

use crate::payload;

/// What stands for a key in a template; ten digits, so that every body has the same length.
const PLACE: &str = "7000000007";

/// How much of a payload differs from request to request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Strings, numbers and one name.
    Everything,
    /// Strings.
    Strings,
    /// Nothing in the body: the path, the query or a header may.
    Nothing,
}

/// A payload that can be had in any size.
#[derive(Debug, Clone)]
pub struct Payload {
    given: Vec<u8>,
    json: Option<Value>,
}

impl Default for Payload {
    /// An array with one record of a web service, with the names under which servers look for a key.
    fn default() -> Payload {
        let mut record: Value = serde_json::from_str(&payload::record(1)).unwrap_or(Value::Null);
        if let Value::Object(fields) = &mut record {
            for name in ["id", "key", "user", "name", "tenant", "session"] {
                fields.insert(name.to_owned(), json!(format!("{name}-1")));
            }
            fields.insert("user_id".to_owned(), json!(1));
            fields.insert("labels".to_owned(), json!({"pod": "web-1", "zone": "eu-1"}));
        }
        Payload::new(json!([record]).to_string().into_bytes())
    }
}

impl Payload {
    /// Any bytes; best is an array of JSON records.
    pub fn new(given: Vec<u8>) -> Payload {
        let json = serde_json::from_slice(&given).ok();
        Payload { given, json }
    }

    /// As it was given.
    pub fn given(&self) -> &[u8] {
        &self.given
    }

    /// The least of it that has its shape: arrays have their first element only.
    pub fn small(&self) -> Vec<u8> {
        match &self.json {
            Some(json) => {
                let mut json = json.clone();
                // What is small already is sent as it was given, to the byte.
                if shorten(&mut json) { json.to_string().into_bytes() } else { self.given.clone() }
            }
            None => self.given.clone(),
        }
    }

    /// About `size` bytes of it, at least as much as the small one.
    pub fn sized(&self, size: usize) -> Vec<u8> {
        let small = self.small();
        if size <= small.len() {
            return small;
        }
        match &self.json {
            Some(Value::Array(records)) if !records.is_empty() => {
                let record = records[0].to_string();
                let count = (size.saturating_sub(2) / (record.len() + 1)).max(1);
                format!("[{}]", vec![record; count].join(",")).into_bytes()
            }
            // The largest part of a document is in its arrays: as it was given, it is large.
            Some(Value::Object(_)) if size <= self.given.len() * 2 && self.given.len() > small.len() * 4 => {
                self.given.clone()
            }
            Some(Value::Object(_)) => self.padded(size).unwrap_or(small),
            // Lines, or anything else: the same again.
            _ if self.given.is_empty() => small,
            _ => self.given.repeat((size / self.given.len()).max(1)),
        }
    }

    /// About `size` bytes in which one value is long: little for a parser to make, and nothing that it could keep
    /// in small pieces. None: the payload has no place for it.
    pub fn padded(&self, size: usize) -> Option<Vec<u8>> {
        let mut json: Value = serde_json::from_slice(&self.small()).ok()?;
        let record = if let Value::Array(records) = &mut json { records.first_mut()? } else { &mut json };
        let padding = "x".repeat(size.saturating_sub(self.small().len() + 16));
        record.as_object_mut()?.insert("padding".to_owned(), Value::String(padding));
        Some(json.to_string().into_bytes())
    }

    /// The small payload with a place for a key wherever `keys` says.
    pub fn template(&self, keys: Keys) -> Template {
        let small = self.small();
        let mut json: Option<Value> = serde_json::from_slice(&small).ok();
        if let Some(json) = json.as_mut().filter(|_| keys != Keys::Nothing) {
            mark(json, keys);
        }
        let text = json.map_or(small, |json| json.to_string().into_bytes());
        Template::new(text)
    }
}

/// Leaves arrays their first element. False: there was nothing to leave out.
fn shorten(value: &mut Value) -> bool {
    match value {
        Value::Array(values) => {
            let long = values.len() > 1;
            values.truncate(1);
            values.iter_mut().fold(long, |any, value| shorten(value) | any)
        }
        Value::Object(fields) => fields.values_mut().fold(false, |any, value| shorten(value) | any),
        _ => false,
    }
}

fn mark(value: &mut Value, keys: Keys) {
    match value {
        Value::String(text) => *text = format!("{text}-{PLACE}"),
        Value::Number(_) if keys == Keys::Everything => *value = json!(7_000_000_007_u64),
        Value::Array(values) => values.iter_mut().for_each(|value| mark(value, keys)),
        Value::Object(fields) => {
            fields.values_mut().for_each(|value| mark(value, keys));
            if keys == Keys::Everything {
                fields.insert(format!("k{PLACE}"), Value::Bool(true));
            }
        }
        _ => {}
    }
}

/// A body with places for a key.
#[derive(Debug, Clone)]
pub struct Template {
    text: Vec<u8>,
    places: Vec<usize>,
}

impl Template {
    fn new(text: Vec<u8>) -> Template {
        let mut places = Vec::new();
        let mut at = 0;
        while at + PLACE.len() <= text.len() {
            if text[at..].starts_with(PLACE.as_bytes()) {
                places.push(at);
                at += PLACE.len();
            } else {
                at += 1;
            }
        }
        Template { text, places }
    }

    /// How many values differ.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// The body for a key. `body` is used again and again.
    pub fn fill(&self, token: &str, body: &mut Vec<u8>) {
        body.clear();
        body.extend_from_slice(&self.text);
        for place in &self.places {
            body[*place..*place + PLACE.len()].copy_from_slice(token.as_bytes());
        }
    }
}

/// The key of a number: ten digits without a zero in front, so that it may stand where a number stood.
pub fn token(number: u64) -> String {
    (1_000_000_000 + number % 8_999_999_999).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_repeat_the_same_records() {
        let payload = Payload::default();
        let large = payload.sized(186_000);
        assert!((180_000..=186_000).contains(&large.len()), "{}", large.len());
        let records: Vec<Value> = serde_json::from_slice(&large).unwrap();
        assert!(records.iter().all(|record| *record == records[0]));
        assert_eq!(payload::count(&payload.small()), 1);
    }

    #[test]
    fn a_document_is_small_without_its_arrays_and_large_as_it_was_given() {
        let given = payload::alert(4_900, 1).into_bytes();
        let payload = Payload::new(given.clone());
        assert!(payload.small().len() < 2_000, "{}", payload.small().len());
        assert_eq!(payload.sized(186_000), given);
    }

    #[test]
    fn an_object_is_padded_and_lines_are_repeated() {
        let object = Payload::new(b"{\"a\": 1}".to_vec()).sized(1000);
        let value: Value = serde_json::from_slice(&object).unwrap();
        assert!(value["a"] == 1 && (900..=1100).contains(&object.len()));
        assert_eq!(Payload::new(b"ab\n".to_vec()).sized(9), b"ab\nab\nab\n");
    }

    #[test]
    fn every_key_gives_a_body_of_the_same_length_that_is_still_json() {
        for keys in [Keys::Everything, Keys::Strings, Keys::Nothing] {
            let template = Payload::default().template(keys);
            let (mut one, mut two) = (Vec::new(), Vec::new());
            template.fill(&token(1), &mut one);
            template.fill(&token(u64::MAX), &mut two);
            assert_eq!(one.len(), two.len());
            assert_eq!(one == two, keys == Keys::Nothing);
            serde_json::from_slice::<Value>(&one).unwrap();
            assert_eq!(template.places() == 0, keys == Keys::Nothing);
        }
    }
}
