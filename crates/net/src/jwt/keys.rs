//! The issuer's keys ([RFC 7517](https://www.rfc-editor.org/rfc/rfc7517)), and when to fetch them.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{Request, StatusCode};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Denied;
use super::token::Signed;
use crate::client::{Body, Client};

/// The longest key set that is read. Those of large issuers have some 40 KB, most of it certificates.
pub(super) const SET_BYTES: usize = 256 << 10;
/// Keys that are kept.
const KEYS: usize = 50;
/// Bytes of the longest key that can be checked with, and of a number or name of one.
pub(super) const NUMBER_BYTES: usize = 1024;

/// How often a key set that could not be fetched is asked for.
const RETRY: Duration = Duration::from_secs(10);
/// How often tokens with unknown keys can have the set fetched.
const UNKNOWN: Duration = Duration::from_secs(30);
/// How long keys are used that should have been fetched again.
const GRACE: Duration = Duration::from_secs(3600);

/// Numbers of keys come without padding, and from some issuers with it.
const NUMBER: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Debug)]
pub(super) struct KeySet {
    client: Client,
    url: String,
    interval: Duration,
    known: Mutex<Known>,
    /// Held by whoever fetches.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    keys: Arc<Vec<Key>>,
    /// How often keys came.
    generation: u64,
    /// When these keys came.
    fetched: Option<Instant>,
    /// When they were last asked for, with success or without.
    asked: Option<Instant>,
}

#[derive(Debug)]
struct Key {
    kid: String,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

/// What to do before a token is checked.
#[derive(PartialEq, Eq)]
enum Fetch {
    No,
    /// Unless someone does already.
    IfFree,
    Yes,
}

impl KeySet {
    pub(super) fn new(client: Client, url: String, interval: Duration) -> KeySet {
        KeySet { client, url, interval, known: Mutex::default(), fetching: tokio::sync::Mutex::default() }
    }

    /// The generation of the keys, if they are not to be fetched again.
    pub(super) fn fresh(&self, now: Instant) -> Option<u64> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let age = now.saturating_duration_since(known.fetched?);
        (age < self.interval).then_some(known.generation)
    }

    /// Checks the signature; gives the generation of the keys that it was checked with.
    pub(super) async fn verify(&self, token: &Signed<'_>, now: Instant) -> Result<u64, Denied> {
        let fetching = match self.known().plan(&token.kid, self.interval, now) {
            Fetch::No => None,
            Fetch::IfFree => self.fetching.try_lock().ok(),
            Fetch::Yes => Some(self.fetching.lock().await),
        };
        // Whoever waited may find that it was done meanwhile.
        if fetching.is_some() && self.known().plan(&token.kid, self.interval, now) != Fetch::No {
            self.fetch(now).await;
        }
        drop(fetching);
        let known = self.known();
        if known.fetched.is_none_or(|at| now.saturating_duration_since(at) >= self.interval + GRACE) {
            return Err(Denied::NoKeys);
        }
        let key = known.find(&token.kid).ok_or(Denied::UnknownKey)?;
        RsaPublicKeyComponents { n: &key.modulus, e: &key.exponent }
            .verify(&RSA_PKCS1_2048_8192_SHA256, token.text, &token.signature)
            .map_err(|_| Denied::Signature)?;
        Ok(known.generation)
    }

    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn fetch(&self, now: Instant) {
        let found = self.get().await;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.asked = Some(now);
        match found {
            Ok(keys) => {
                known.keys = Arc::new(keys);
                known.generation += 1;
                known.fetched = Some(now);
            }
            Err(why) => tracing::warn!("oauth2.jwks_url: the keys could not be fetched: {why}"),
        }
    }

    async fn get(&self) -> Result<Vec<Key>, String> {
        let request = Request::get(&self.url)
            .header("accept", "application/json")
            .body(Body::empty())
            .map_err(|error| error.to_string())?;
        let response = self.client.send(request).await.map_err(|error| error.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("the answer is {}", response.status()));
        }
        parse(response.body())
    }
}

impl Known {
    fn find(&self, kid: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.kid == kid)
    }

    fn plan(&self, kid: &str, interval: Duration, now: Instant) -> Fetch {
        let ago = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        let may = |pause: Duration| ago(self.asked).is_none_or(|ago| ago >= pause.min(interval));
        let Some(age) = ago(self.fetched) else {
            return if may(RETRY) { Fetch::Yes } else { Fetch::No };
        };
        match (self.find(kid), age >= interval) {
            (Some(_), true) if may(RETRY) => Fetch::IfFree,
            (None, _) if may(UNKNOWN) => Fetch::Yes,
            _ => Fetch::No,
        }
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Keys,
}

/// The keys of a set that tokens can be checked with. Others are passed over, and so are more than [`KEYS`].
struct Keys(Vec<Key>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(members: D) -> Result<Keys, D::Error> {
        members.deserialize_seq(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of keys")
    }

    /// Each member becomes a key or nothing as it is read: a long set is never there as a whole.
    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Keys, A::Error> {
        let mut keys = Vec::new();
        while let Some(member) = members.next_element::<Member<'de>>()? {
            keys.extend(member.key().filter(|_| keys.len() < KEYS));
        }
        Ok(Keys(keys))
    }
}

#[derive(Deserialize)]
struct Member<'a> {
    #[serde(borrow)]
    kty: Cow<'a, str>,
    #[serde(borrow)]
    kid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    alg: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "use")]
    purpose: Option<Cow<'a, str>>,
    #[serde(borrow)]
    n: Option<Cow<'a, str>>,
    #[serde(borrow)]
    e: Option<Cow<'a, str>>,
}

fn parse(set: &[u8]) -> Result<Vec<Key>, String> {
    let set: Set = serde_json::from_slice(set).map_err(|error| format!("no key set: {error}"))?;
    let Keys(keys) = set.keys;
    if keys.is_empty() { Err("the key set has no RSA key for signatures".to_owned()) } else { Ok(keys) }
}

impl Member<'_> {
    fn key(&self) -> Option<Key> {
        let fits = self.kty == "RSA"
            && self.alg.as_ref().is_none_or(|alg| alg == "RS256")
            && self.purpose.as_ref().is_none_or(|purpose| purpose == "sig");
        let kid = self.kid.as_ref().filter(|kid| fits && kid.len() <= NUMBER_BYTES)?;
        let number = |text: &Option<Cow<'_, str>>| {
            let bytes = NUMBER.decode(text.as_ref()?.as_bytes()).ok()?;
            // Some issuers put a zero before the number; the library wants none.
            let start = bytes.iter().position(|byte| *byte != 0)?;
            Some(bytes[start..].to_vec()).filter(|bytes| bytes.len() <= NUMBER_BYTES)
        };
        Some(Key { kid: kid.to_string(), modulus: number(&self.n)?, exponent: number(&self.e)? })
    }
}
