//! Bearer tokens that an authorization server signed (`oauth2.validate`).
//!
//! A request is let in when its `Authorization` header carries a JSON Web Token
//! ([RFC 7519](https://www.rfc-editor.org/rfc/rfc7519)) that
//!
//! * is signed with RS256 by a key of the key set at `oauth2.jwks_url`, named by `kid`,
//! * has not expired (`exp`), and is valid already (`nbf`, with a minute for clocks that differ),
//! * was issued by `oauth2.issuer` (`iss`), for `oauth2.allowed_audience` if that is set (`aud`),
//! * and was given to one of `oauth2.allowed_clients` if any are set (`azp`, else `client_id`, else `appid`).
//!
//! The key set is fetched when the first token comes, again when it is older than
//! `oauth2.jwks_refresh_interval`, and when a token names a key that is not in it: a server that changes its
//! keys is followed at once. No one can have it fetched more often than every 30 seconds by inventing key
//! names. While it cannot be fetched, the keys that are known are used for another hour. A token that was found
//! good is not checked again until it expires or the keys are fetched again.

mod keys;
mod recent;
mod token;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::Uri;
use options::{Options, Period, Reader, SpaceList};

use crate::client::{Client, Settings, Tls, TlsRefused, TrustOptions};
use keys::KeySet;
use recent::{Entry, Recent, digest_of};
use token::Token;

/// The options that inputs share.
#[derive(Debug, Clone, Options)]
#[options(check = ValidateOptions::check)]
pub struct ValidateOptions {
    /// Let in only requests with a valid bearer token.
    #[option(name = "oauth2.validate", default = "off")]
    pub validate: bool,
    /// Who must have issued the token (its claim `iss`).
    #[option(name = "oauth2.issuer")]
    pub issuer: Option<String>,
    /// The URL of the issuer's keys: https, or http on this host.
    #[option(name = "oauth2.jwks_url")]
    pub jwks_url: Option<String>,
    /// Whom the token must be for (one of its claim `aud`).
    #[option(name = "oauth2.allowed_audience")]
    pub allowed_audience: Option<String>,
    /// Clients that are let in (the claim `azp`, `client_id` or `appid`).
    #[option(name = "oauth2.allowed_clients")]
    pub allowed_clients: Vec<SpaceList>,
    /// How old the issuer's keys may be.
    #[option(name = "oauth2.jwks_refresh_interval", default = "300", min = "1")]
    pub refresh_interval: Period,
}

impl ValidateOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        if self.validate && self.issuer.is_none() {
            reader.refuse("oauth2.issuer", "oauth2.validate without oauth2.issuer", None);
        }
        match &self.jwks_url {
            None if self.validate => {
                reader.refuse("oauth2.jwks_url", "oauth2.validate without oauth2.jwks_url", None);
            }
            Some(url) if !trustworthy(url) => {
                let what = "option \"oauth2.jwks_url\": not a URL with https";
                let hint = "keys that come over http could be anyone's; http is taken for this host only";
                reader.refuse("oauth2.jwks_url", what, Some(hint.to_owned()));
            }
            _ => {}
        }
    }
}

/// Whether what comes from there is what its owner sent.
fn trustworthy(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else { return false };
    let here = || matches!(url.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match url.scheme_str() {
        Some("https") => url.host().is_some_and(|host| !host.is_empty()),
        Some("http") => here(),
        _ => false,
    }
}

/// Why a request is not let in. Displayed it is one line for a log; the token does not stand in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// There is no `Authorization` header.
    NoHeader,
    /// It is not one of the scheme `Bearer`.
    NoBearer,
    /// The token is longer than [`Validator::TOKEN_BYTES`].
    TooLong,
    /// It is not a token; the text names the part.
    Malformed(&'static str),
    /// It is signed in another way than RS256.
    Algorithm,
    /// A claim is not there.
    Missing(&'static str),
    /// It has expired.
    Expired,
    /// It is not valid yet.
    Early,
    /// Another one issued it.
    Issuer,
    /// It is for someone else.
    Audience,
    /// It was given to a client that is not allowed.
    Client,
    /// The issuer has no key of this name.
    UnknownKey,
    /// The signature is wrong.
    Signature,
    /// The issuer's keys could not be fetched: nothing is known of the token.
    NoKeys,
}

impl Denied {
    /// Whether the same token may be let in later: the client did nothing wrong.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Denied::NoKeys)
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Denied::NoHeader => "there is no Authorization header",
            Denied::NoBearer => "the Authorization header has no bearer token",
            Denied::TooLong => "the token is longer than 16 KiB",
            Denied::Malformed(part) => return write!(f, "the token's {part} cannot be read"),
            Denied::Algorithm => "the token is not signed with RS256",
            Denied::Missing(claim) => return write!(f, "the token has no \"{claim}\""),
            Denied::Expired => "the token has expired",
            Denied::Early => "the token is not valid yet",
            Denied::Issuer => "the token was issued by someone else",
            Denied::Audience => "the token is for another audience",
            Denied::Client => "the token's client is not one of oauth2.allowed_clients",
            Denied::UnknownKey => "the issuer has no key of the name in the token",
            Denied::Signature => "the token's signature is wrong",
            Denied::NoKeys => "the issuer's keys could not be fetched",
        };
        f.write_str(text)
    }
}

impl std::error::Error for Denied {}

/// What a token must be, and the keys to check it with. One for all lanes of an input.
#[derive(Debug)]
pub struct Validator {
    issuer: String,
    audience: Option<String>,
    clients: Vec<String>,
    keys: KeySet,
    recent: Recent,
}

/// The time, by the clock that never jumps and by the one that everybody shares.
#[derive(Debug, Clone, Copy)]
struct Now {
    instant: Instant,
    unix: f64,
}

impl Now {
    fn get() -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { instant: Instant::now(), unix: unix.as_secs_f64() }
    }
}

impl Validator {
    /// The longest token that is looked at.
    pub const TOKEN_BYTES: usize = 16 << 10;

    /// Bytes that a validator holds at most: a key set as it comes, and the keys of two while one takes the
    /// place of another. A request that waits for them holds some 2 KiB besides.
    pub const HELD: usize = 4 * keys::SET_BYTES;

    /// `None` when the options ask for no validation.
    ///
    /// # Errors
    /// TLS cannot be set up: the system has no certificates to trust.
    pub fn new(options: &ValidateOptions) -> Result<Option<Validator>, TlsRefused> {
        let (true, Some(issuer), Some(url)) = (options.validate, &options.issuer, &options.jwks_url) else {
            return Ok(None);
        };
        let tls =
            if url.starts_with("http:") { None } else { Some(Tls::trusting(&TrustOptions::default())?) };
        let settings = Settings {
            exchange_timeout: Duration::from_secs(10),
            // Lanes share this client, and a connection belongs to one of them.
            idle: 0,
            response_bytes: keys::SET_BYTES,
            tls,
            ..Settings::default()
        };
        Ok(Some(Validator {
            issuer: issuer.clone(),
            audience: options.allowed_audience.clone(),
            clients: options.allowed_clients.iter().flat_map(|list| list.0.iter().cloned()).collect(),
            keys: KeySet::new(Client::new(settings), url.clone(), options.refresh_interval.0),
            recent: Recent::default(),
        }))
    }

    /// Whether a request with this `Authorization` header is let in. This may fetch the keys, which takes
    /// twenty seconds at most.
    ///
    /// # Errors
    /// It is not.
    pub async fn check(&self, authorization: Option<&[u8]>) -> Result<(), Denied> {
        self.check_at(authorization, Now::get()).await
    }

    async fn check_at(&self, authorization: Option<&[u8]>, now: Now) -> Result<(), Denied> {
        let text = bearer(authorization.ok_or(Denied::NoHeader)?)?;
        let digest = digest_of(text);
        if let Some(keys) = self.keys.fresh(now.instant)
            && self.recent.knows(&digest, keys, now.unix)
        {
            return Ok(());
        }
        // The claims first: no key is looked up, or fetched, for a token that is of no use anyway.
        let Token { claims, signed } = Token::parse(text)?;
        let expires = claims.check(&self.issuer, self.audience.as_deref(), &self.clients, now.unix)?;
        drop(claims);
        let keys = self.keys.verify(&signed, now.instant).await?;
        self.recent.remember(Entry { token: digest, keys, expires });
        Ok(())
    }
}

/// The token in the header.
fn bearer(header: &[u8]) -> Result<&[u8], Denied> {
    const SCHEME: &[u8] = b"bearer ";
    let header = header.trim_ascii();
    match header.split_at_checked(SCHEME.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => {
            let token = token.trim_ascii();
            if token.len() > Validator::TOKEN_BYTES { Err(Denied::TooLong) } else { Ok(token) }
        }
        _ => Err(Denied::NoBearer),
    }
}
