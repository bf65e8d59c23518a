//! A token's three parts.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Denied;
use super::keys::NUMBER_BYTES;

/// Seconds by which the clocks of the issuer and this host may differ where nothing else forgives it.
const SKEW: f64 = 60.0;

/// A token, its signature not checked.
pub(super) struct Token<'a> {
    pub(super) claims: Claims,
    pub(super) signed: Signed<'a>,
}

/// What a signature is checked with. It is small, because requests hold it while keys are fetched.
pub(super) struct Signed<'a> {
    /// The name of the key it is signed with.
    pub(super) kid: String,
    pub(super) text: &'a [u8],
    pub(super) signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    kid: Option<Cow<'a, str>>,
    /// Extensions that must be understood; none is.
    crit: Option<IgnoredAny>,
}

/// What a token says of itself, as far as it matters here.
#[derive(Deserialize)]
pub(super) struct Claims {
    exp: Option<f64>,
    nbf: Option<f64>,
    iss: Option<String>,
    aud: Option<Audience>,
    azp: Option<String>,
    client_id: Option<String>,
    appid: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl<'a> Token<'a> {
    pub(super) fn parse(token: &'a [u8]) -> Result<Token<'a>, Denied> {
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Denied::Malformed("form (three parts with dots between them)"));
        };
        let text = &token[..header.len() + 1 + claims.len()];
        let header = decode(header, "header")?;
        let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| Denied::Malformed("header"))?;
        if header.alg != "RS256" {
            return Err(Denied::Algorithm);
        }
        if header.crit.is_some() {
            return Err(Denied::Malformed("header (it has a \"crit\")"));
        }
        let kid = header.kid.ok_or(Denied::Missing("kid"))?.into_owned();
        if kid.len() > NUMBER_BYTES {
            return Err(Denied::UnknownKey);
        }
        let claims =
            serde_json::from_slice(&decode(claims, "payload")?).map_err(|_| Denied::Malformed("payload"))?;
        let signature = decode(signature, "signature")?;
        if signature.len() > NUMBER_BYTES {
            return Err(Denied::Signature);
        }
        Ok(Token { claims, signed: Signed { kid, text, signature } })
    }
}

fn decode(part: &[u8], name: &'static str) -> Result<Vec<u8>, Denied> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Denied::Malformed(name))
}

impl Claims {
    /// Whether the token is for here and now; gives the time at which it expires.
    pub(super) fn check(
        &self,
        issuer: &str,
        audience: Option<&str>,
        clients: &[String],
        now: f64,
    ) -> Result<f64, Denied> {
        let expires = self.exp.ok_or(Denied::Missing("exp"))?;
        if expires <= now {
            return Err(Denied::Expired);
        }
        if self.nbf.is_some_and(|nbf| nbf > now + SKEW) {
            return Err(Denied::Early);
        }
        if self.iss.as_deref().ok_or(Denied::Missing("iss"))? != issuer {
            return Err(Denied::Issuer);
        }
        let found = match self.aud.as_ref().ok_or(Denied::Missing("aud"))? {
            Audience::One(one) => std::slice::from_ref(one),
            Audience::Many(many) => many,
        };
        if audience.is_some_and(|audience| !found.iter().any(|found| found == audience)) {
            return Err(Denied::Audience);
        }
        let client = self.azp.as_ref().or(self.client_id.as_ref()).or(self.appid.as_ref());
        if !clients.is_empty() && !client.is_some_and(|client| clients.contains(client)) {
            return Err(Denied::Client);
        }
        Ok(expires)
    }
}
