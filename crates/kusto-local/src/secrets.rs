//! What the server must know again after a restart: the key it signs with and the identity it made up.
//!
//! One key signs access tokens, Kusto identity tokens and shared access signatures. The purpose is part of
//! each signed text, so that a signature for one of them is worth nothing for another. The key lives in
//! `DIR/secrets.json`, readable by the owner only; deleting that file invalidates everything issued before.

use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::files;

/// The identity clients use when the command line names no other one.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) tenant: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    key: String,
    identity: Identity,
}

/// The signing key. Keeps no copy of what it signed: tokens and signatures carry all they need.
pub(crate) struct Signer(hmac::Key);

impl Signer {
    /// Signs `text` for one `purpose`; base64 in the standard alphabet, as storage writes it.
    pub(crate) fn sign(&self, purpose: &str, text: &str) -> String {
        STANDARD.encode(self.tag(purpose, text))
    }

    /// Signs `text` for one `purpose`; base64 in the URL alphabet, as tokens write it.
    pub(crate) fn sign_url_safe(&self, purpose: &str, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.tag(purpose, text))
    }

    /// True when `signature` is the one [`Signer::sign`] gives. Takes the same time for any wrong one.
    pub(crate) fn verify(&self, purpose: &str, text: &str, signature: &str) -> bool {
        STANDARD.decode(signature).is_ok_and(|tag| self.matches(purpose, text, &tag))
    }

    /// True when `signature` is the one [`Signer::sign_url_safe`] gives.
    pub(crate) fn verify_url_safe(&self, purpose: &str, text: &str, signature: &str) -> bool {
        URL_SAFE_NO_PAD.decode(signature).is_ok_and(|tag| self.matches(purpose, text, &tag))
    }

    fn tag(&self, purpose: &str, text: &str) -> hmac::Tag {
        hmac::sign(&self.0, format!("{purpose}\n{text}").as_bytes())
    }

    fn matches(&self, purpose: &str, text: &str, tag: &[u8]) -> bool {
        hmac::verify(&self.0, format!("{purpose}\n{text}").as_bytes(), tag).is_ok()
    }
}

/// Loads `DIR/secrets.json`, or makes it on the first start.
pub(crate) fn load(dir: &Path) -> io::Result<(Signer, Identity)> {
    let path = dir.join("secrets.json");
    let saved: Saved = if path.exists() {
        files::at(&path, serde_json::from_slice(&files::read(&path, 16 << 10)?).map_err(io::Error::from))?
    } else {
        let saved = fresh()?;
        files::replace_private(&path, &serde_json::to_vec_pretty(&saved)?)?;
        saved
    };
    let key = STANDARD.decode(&saved.key).map_err(io::Error::other)?;
    Ok((Signer(hmac::Key::new(hmac::HMAC_SHA256, &key)), saved.identity))
}

fn fresh() -> io::Result<Saved> {
    let identity = Identity {
        tenant: guid()?,
        client_id: guid()?,
        client_secret: URL_SAFE_NO_PAD.encode(random::<30>()?),
    };
    Ok(Saved { key: STANDARD.encode(random::<32>()?), identity })
}

/// Random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(bytes)
}

/// A random (version 4) GUID.
pub(crate) fn guid() -> io::Result<String> {
    let mut bytes: [u8; 16] = random()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

/// A GUID for a header or a log line. Without random bytes the answer is worth more than the id.
pub(crate) fn request_id() -> String {
    guid().unwrap_or_else(|_| "00000000-0000-0000-0000-000000000000".to_owned())
}

/// True for text of the form 8-4-4-4-12 hexadecimal digits.
pub(crate) fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_purpose_and_text_only() {
        let dir = tempfile::tempdir().unwrap();
        let (signer, _) = load(dir.path()).unwrap();
        let signature = signer.sign("sas", "text");
        assert!(signer.verify("sas", "text", &signature));
        assert!(!signer.verify("token", "text", &signature));
        assert!(!signer.verify("sas", "test", &signature));
        assert!(!signer.verify("sas", "text", &signature[1..]));
    }

    #[test]
    fn key_and_identity_are_the_same_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (first, identity) = load(dir.path()).unwrap();
        let (second, again) = load(dir.path()).unwrap();
        assert!(second.verify("x", "y", &first.sign("x", "y")));
        assert_eq!(identity.client_secret, again.client_secret);
        assert!(is_guid(&identity.tenant) && !is_guid("not-a-guid"));
    }
}
