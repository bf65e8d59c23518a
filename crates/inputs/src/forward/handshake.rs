//! The handshake of the Forward Protocol: each side proves that it knows the key, without sending it.

use event::{Cursor, Token};
use net::server::Connection;
use options::{Secret, Words};
use ring::digest::{Context, SHA512};
use ring::rand::{SecureRandom, SystemRandom};

use super::End;
use super::message::text;

/// Random bytes of a nonce and of a salt.
const RANDOM_BYTES: usize = 16;
/// The longest answer of a client that is read.
const PING_BYTES: usize = 4_096;

/// Whom to let in.
pub(super) struct Security {
    key: Secret,
    hostname: String,
    users: Vec<(String, Secret)>,
}

impl Security {
    pub(super) fn new(key: Secret, hostname: &str, users: &[Words<2>]) -> Security {
        let users =
            users.iter().map(|Words([name, password])| (name.clone(), Secret::new(password.as_str())));
        Security { key, hostname: hostname.to_owned(), users: users.collect() }
    }

    /// Asks the client who it is.
    pub(super) async fn shake_hands(&self, connection: &mut Connection) -> Result<(), End> {
        let mut random = [0; 2 * RANDOM_BYTES];
        let no_random = |_| End::Wrong("the system has no random numbers".to_owned());
        SystemRandom::new().fill(&mut random).map_err(no_random)?;
        let (nonce, salt) = random.split_at(RANDOM_BYTES);
        connection.send(&hello(nonce, salt)).await?;
        let ping = self.ping(connection).await?;
        let mine = digest(&[&ping.salt, &ping.hostname, nonce, self.key.expose().as_bytes()]);
        if !same(mine.as_bytes(), &ping.key_digest) {
            return Err(End::Wrong("it does not know the shared key".to_owned()));
        }
        if !self.users.is_empty() && !self.knows(&ping, salt) {
            connection.send(&refusal("username/password mismatch")).await?;
            return Err(End::Wrong("its user or password is wrong".to_owned()));
        }
        let proof = digest(&[&ping.salt, self.hostname.as_bytes(), nonce, self.key.expose().as_bytes()]);
        connection.send(&self.pong(&proof)).await?;
        Ok(())
    }

    /// Waits for the client's answer.
    async fn ping(&self, connection: &mut Connection) -> Result<Ping, End> {
        loop {
            connection.receive(true).await?;
            let wrong = || End::Wrong("its answer to the greeting is no PING".to_owned());
            if connection.input.len() > PING_BYTES {
                return Err(wrong());
            }
            let bytes = connection.input.to_vec();
            let mut cursor = Cursor::of(&bytes);
            if cursor.clone().skip().is_ok() {
                let ping = Ping::read(&mut cursor).ok_or_else(wrong)?;
                let length = cursor.offset();
                connection.consume(length);
                return Ok(ping);
            }
        }
    }

    fn knows(&self, ping: &Ping, salt: &[u8]) -> bool {
        let user = self.users.iter().find(|(name, _)| name.as_bytes() == ping.user);
        user.is_some_and(|(name, password)| {
            let mine = digest(&[salt, name.as_bytes(), password.expose().as_bytes()]);
            same(mine.as_bytes(), &ping.password_digest)
        })
    }

    fn pong(&self, proof: &str) -> Vec<u8> {
        let mut bytes = vec![0x95];
        put(&mut bytes, b"PONG");
        bytes.push(0xc3);
        put(&mut bytes, b"");
        put(&mut bytes, self.hostname.as_bytes());
        put(&mut bytes, proof.as_bytes());
        bytes
    }
}

/// `["PONG", false, why, "", ""]`.
fn refusal(why: &str) -> Vec<u8> {
    let mut bytes = vec![0x95];
    put(&mut bytes, b"PONG");
    bytes.push(0xc2);
    for part in [why, "", ""] {
        put(&mut bytes, part.as_bytes());
    }
    bytes
}

/// `["HELO", {"nonce": ..., "auth": ...}]`.
fn hello(nonce: &[u8], salt: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x92];
    put(&mut bytes, b"HELO");
    bytes.push(0x82);
    for part in [&b"nonce"[..], nonce, b"auth", salt] {
        put(&mut bytes, part);
    }
    bytes
}

fn put(bytes: &mut Vec<u8>, text: &[u8]) {
    let (header, size) = event::msgpack::str_header(text.len());
    bytes.extend_from_slice(&header[..size]);
    bytes.extend_from_slice(text);
}

/// `["PING", hostname, salt, key digest, user, password digest]`.
struct Ping {
    hostname: Vec<u8>,
    salt: Vec<u8>,
    key_digest: Vec<u8>,
    user: Vec<u8>,
    password_digest: Vec<u8>,
}

impl Ping {
    fn read(cursor: &mut Cursor<'_>) -> Option<Ping> {
        if cursor.token().ok()? != Token::Array(6) {
            return None;
        }
        let mut next = || Some(text(cursor.whole().ok()??)?.to_vec());
        if next()? != b"PING" {
            return None;
        }
        Some(Ping {
            hostname: next()?,
            salt: next()?,
            key_digest: next()?,
            user: next()?,
            password_digest: next()?,
        })
    }
}

/// SHA-512 of all parts, in hexadecimal digits.
fn digest(parts: &[&[u8]]) -> String {
    let mut context = Context::new(&SHA512);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether two digests are equal, in a time that does not depend on where they differ.
fn same(mine: &[u8], theirs: &[u8]) -> bool {
    mine.len() == theirs.len() && mine.iter().zip(theirs).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}
