//! Tokens that were found good. A client sends the same one for an hour, and the signature costs more than the
//! rest of a small request.

use std::sync::{Mutex, PoisonError};

use ring::digest::{SHA256, digest};

/// Tokens that are remembered: as many clients send at the speed of the cache.
const TOKENS: usize = 128;

/// Remembers the last tokens by their digest, so that no token is kept.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    entries: Vec<Entry>,
    next: usize,
}

/// A token that was good by the keys of this generation, until it expires.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) token: Digest,
    pub(super) keys: u64,
    pub(super) expires: f64,
}

pub(super) type Digest = [u8; 32];

/// What a token is remembered by.
pub(super) fn digest_of(token: &[u8]) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token).as_ref());
    bytes
}

impl Recent {
    /// Whether this token was good and still is.
    pub(super) fn knows(&self, token: &Digest, keys: u64, now: f64) -> bool {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.entries.iter().any(|entry| entry.token == *token && entry.keys == keys && entry.expires > now)
    }

    /// Remembers a token, in place of the one remembered first.
    pub(super) fn remember(&self, entry: Entry) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = ring.next;
        if at < ring.entries.len() {
            ring.entries[at] = entry;
        } else {
            ring.entries.push(entry);
        }
        ring.next = (at + 1) % TOKENS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tokens_are_known_to_the_same_keys_until_they_expire() {
        let recent = Recent::default();
        let token = |n: usize| digest_of(&n.to_be_bytes());
        for n in 0..TOKENS + 10 {
            recent.remember(Entry { token: token(n), keys: 7, expires: 100.0 });
        }
        for n in 0..TOKENS + 10 {
            assert_eq!(recent.knows(&token(n), 7, 99.0), n >= 10, "{n}");
            assert!(!recent.knows(&token(n), 8, 99.0), "other keys");
            assert!(!recent.knows(&token(n), 7, 100.0), "expired");
        }
    }
}
