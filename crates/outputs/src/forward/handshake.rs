//! Who shares a key proves it: HELO, PING, PONG.

use std::fmt::Write;

use event::msgpack::{put_str, str_header};
use event::{Cursor, Token};
use net::client::Stream;
use ring::digest::{Context, SHA512};
use ring::rand::{SecureRandom, SystemRandom};

use super::Undelivered;
use super::wire::{broken, flush, read, string, text_of, write};

/// Bytes of the salt.
const SALT: usize = 16;

/// What this side knows.
pub(super) struct Credentials {
    key: String,
    user: String,
    password: String,
    hostname: String,
}

impl Credentials {
    pub(super) fn new(key: &str, user: &str, password: &str, hostname: &str) -> Credentials {
        let own = str::to_owned;
        Credentials { key: own(key), user: own(user), password: own(password), hostname: own(hostname) }
    }

    /// Shakes hands on a new connection. Answers whether the other side wants it to be kept.
    pub(super) async fn shake_hands(&self, stream: &mut Stream) -> Result<bool, Undelivered> {
        let greeting = read(stream).await?;
        let Some(greeting) = Greeting::of(&greeting) else {
            return Err(broken(
                stream,
                std::io::Error::other("it does not greet as one that shares a key does"),
            ));
        };
        let mut salt = [0; SALT];
        if SystemRandom::new().fill(&mut salt).is_err() {
            return Err(broken(stream, std::io::Error::other("no random numbers")));
        }
        write(stream, &self.ping(&greeting, &salt)).await?;
        flush(stream).await?;
        let answer = read(stream).await?;
        self.check(&answer, &greeting, &salt)
            .map_err(|what| Undelivered::Denied(format!("{} does not let us in: {what}", stream.peer())))?;
        Ok(greeting.keepalive)
    }

    fn ping(&self, greeting: &Greeting<'_>, salt: &[u8]) -> Vec<u8> {
        let mut ping = vec![0x96];
        put_str(&mut ping, "PING");
        put_str(&mut ping, &self.hostname);
        let (header, size) = str_header(salt.len());
        ping.extend_from_slice(&header[..size]);
        ping.extend_from_slice(salt);
        put_str(&mut ping, &digest(&[salt, self.hostname.as_bytes(), greeting.nonce, self.key.as_bytes()]));
        if greeting.auth.is_empty() {
            put_str(&mut ping, "");
            put_str(&mut ping, "");
        } else {
            put_str(&mut ping, &self.user);
            put_str(&mut ping, &digest(&[greeting.auth, self.user.as_bytes(), self.password.as_bytes()]));
        }
        ping
    }

    /// `["PONG", welcome, reason, hostname, digest]`: the other side must know the key too.
    fn check(&self, answer: &[u8], greeting: &Greeting<'_>, salt: &[u8]) -> Result<(), String> {
        let mut cursor = Cursor::of(answer);
        if !matches!(cursor.token(), Ok(Token::Array(5))) || string(&mut cursor) != Some(b"PONG") {
            return Err("its answer is none of the protocol".to_owned());
        }
        let welcome = matches!(cursor.token(), Ok(Token::Bool(true)));
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let reason = text(string(&mut cursor));
        if !welcome {
            return Err(format!("\"{reason}\" (check shared_key, username and password)"));
        }
        let hostname = string(&mut cursor).unwrap_or_default();
        let expected = digest(&[salt, hostname, greeting.nonce, self.key.as_bytes()]);
        match string(&mut cursor) {
            Some(proof) if proof == expected.as_bytes() => Ok(()),
            _ => Err("it does not know shared_key".to_owned()),
        }
    }
}

/// `["HELO", {nonce, auth, keepalive}]`.
struct Greeting<'m> {
    nonce: &'m [u8],
    /// Empty where no user is asked for.
    auth: &'m [u8],
    keepalive: bool,
}

impl Greeting<'_> {
    fn of(message: &[u8]) -> Option<Greeting<'_>> {
        let mut cursor = Cursor::of(message);
        let Ok(Token::Array(2..)) = cursor.token() else { return None };
        if string(&mut cursor) != Some(b"HELO") {
            return None;
        }
        let map = cursor.here();
        Some(Greeting {
            nonce: text_of(map, "nonce")?,
            auth: text_of(map, "auth").unwrap_or_default(),
            keepalive: keepalive(map).unwrap_or(true),
        })
    }
}

fn keepalive(map: &[u8]) -> Option<bool> {
    let mut cursor = Cursor::of(map);
    let Ok(Token::Map(count)) = cursor.token() else { return None };
    for _ in 0..count {
        if string(&mut cursor) == Some(b"keepalive") {
            return match cursor.token() {
                Ok(Token::Bool(keep)) => Some(keep),
                _ => None,
            };
        }
        cursor.skip().ok()?;
    }
    None
}

/// SHA-512 as hexadecimal digits.
pub(super) fn digest(parts: &[&[u8]]) -> String {
    let mut context = Context::new(&SHA512);
    parts.iter().for_each(|part| context.update(part));
    let mut text = String::with_capacity(128);
    for byte in context.finish().as_ref() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
