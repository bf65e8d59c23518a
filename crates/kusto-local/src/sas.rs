//! Shared access signatures: made by the data-management endpoint, checked by storage and by the engine.
//!
//! The form is that of a user-delegation SAS ("Create a user delegation SAS"): permissions, start, expiry
//! and the description of a delegation key are in the query and signed, so a URL is longer than 256
//! characters, as real ones are. Without that description, as with a "service SAS", it is shorter. The string to sign is the documented one for version 2020-12-06 and
//! later; the key is the server's own. Clients append the query unchanged and never compute a signature.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use time::{Duration, OffsetDateTime};

use crate::http::Params;
use crate::secrets::{Identity, Signer};
use crate::stamp;

const PURPOSE: &str = "sas";
const VERSION: &str = "2026-02-06";

/// Fields before those that describe a delegated key.
const DELEGATED: usize = 6;

/// RFC 3986's unreserved characters stay, as in the URLs Azure gives out.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The service half of the canonicalized resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Service {
    Blob,
    Queue,
    Table,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Queue => "queue",
            Self::Table => "table",
        }
    }

    /// `sr` and `sks`: a container or a queue, and the service the key is for.
    fn codes(self) -> (&'static str, &'static str) {
        match self {
            Self::Blob => ("c", "b"),
            Self::Queue => ("q", "q"),
            Self::Table => ("t", "t"),
        }
    }
}

/// What a signature is for.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) service: Service,
    pub(crate) account: &'a str,
    /// Container or queue.
    pub(crate) name: &'a str,
}

/// What is granted and for how long.
#[derive(Clone, Copy)]
pub(crate) struct Grant<'a> {
    pub(crate) permissions: &'a str,
    pub(crate) from: OffsetDateTime,
    pub(crate) lifetime: std::time::Duration,
    pub(crate) https_only: bool,
    /// With an account's key: what describes a delegated one is left out.
    pub(crate) short: bool,
}

/// Why a signature grants nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Missing, forged, cut or expired: 403 AuthenticationFailed.
    Authentication(String),
    /// Good, but not for this operation: 403 AuthorizationPermissionMismatch.
    Permission(String),
}

impl Refused {
    /// The sentence for a person.
    pub(crate) fn detail(&self) -> &str {
        match self {
            Self::Authentication(text) | Self::Permission(text) => text,
        }
    }
}

/// Makes the query string of a signature, without the `?`.
pub(crate) fn issue(signer: &Signer, identity: &Identity, target: Target<'_>, grant: Grant<'_>) -> String {
    let (resource, key_service) = target.service.codes();
    // A little before the start, so that a client whose clock is behind can begin at once.
    let start = stamp::seconds(grant.from - Duration::minutes(5));
    let expiry = stamp::seconds(
        grant.from.saturating_add(Duration::try_from(grant.lifetime).unwrap_or(Duration::MAX)),
    );
    let protocol = if grant.https_only { "https" } else { "https,http" };
    let fields = [
        ("sv", VERSION),
        ("sr", resource),
        ("st", &start),
        ("se", &expiry),
        ("sp", grant.permissions),
        ("spr", protocol),
        ("skoid", &identity.client_id),
        ("sktid", &identity.tenant),
        ("skt", &start),
        ("ske", &expiry),
        ("sks", key_service),
        ("skv", VERSION),
    ];
    let fields = if grant.short { &fields[..DELEGATED] } else { &fields[..] };
    let value = |name: &str| fields.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let signature = signer.sign(PURPOSE, &string_to_sign(target, value));
    let mut query = String::new();
    for (name, value) in fields.iter().copied().chain([("sig", signature.as_str())]) {
        let separator = if query.is_empty() { "" } else { "&" };
        query.push_str(&format!("{separator}{name}={}", utf8_percent_encode(value, ENCODED)));
    }
    query
}

/// Checks the signature in a query for one of the permissions `any_of`.
pub(crate) fn check(
    signer: &Signer,
    target: Target<'_>,
    query: &Params,
    any_of: &[char],
    now: OffsetDateTime,
) -> Result<(), Refused> {
    let authentication = |text: String| Err(Refused::Authentication(text));
    let Some(signature) = query.get("sig") else {
        return authentication("The URL has no signature (sig).".to_owned());
    };
    if !signer.verify(PURPOSE, &string_to_sign(target, |name| query.get(name)), signature) {
        return authentication("Signature did not match.".to_owned());
    }
    let time = |name| query.get(name).and_then(stamp::parse_seconds);
    let (Some(start), Some(expiry)) = (time("st"), time("se")) else {
        return authentication("Signature fields not well formed.".to_owned());
    };
    if now < start || now >= expiry {
        let text = format!(
            "Signature not valid in the specified time frame: Start [{}] - Expiry [{}] - Current [{}]",
            stamp::http(start),
            stamp::http(expiry),
            stamp::http(now)
        );
        return authentication(text);
    }
    let permissions = query.get("sp").unwrap_or_default();
    if !permissions.contains(any_of) {
        let text = format!("The signature permits '{permissions}'; this operation needs one of {any_of:?}.");
        return Err(Refused::Permission(text));
    }
    Ok(())
}

/// The documented order, one field a line; fields this server does not use stay empty lines.
fn string_to_sign<'a>(target: Target<'_>, field: impl Fn(&str) -> Option<&'a str>) -> String {
    let resource = format!("/{}/{}/{}", target.service.name(), target.account, target.name);
    let names = [
        "skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid", "sip", "spr", "sv", "sr",
        "snapshot", "ses", "rscc", "rscd", "rsce", "rscl", "rsct",
    ];
    let mut lines = ["sp", "st", "se"].map(|name| field(name).unwrap_or_default()).join("\n");
    lines.push('\n');
    lines.push_str(&resource);
    for name in names {
        lines.push('\n');
        lines.push_str(field(name).unwrap_or_default());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration as Std;

    const TARGET: Target<'_> = Target { service: Service::Blob, account: "acct", name: "box" };

    fn signed(lifetime: u64, short: bool) -> (Signer, String, OffsetDateTime) {
        let dir = tempfile::tempdir().unwrap();
        let (signer, identity) = crate::secrets::load(dir.path()).unwrap();
        let from = stamp::now();
        let lifetime = Std::from_secs(lifetime);
        let grant = Grant { permissions: "rw", from, lifetime, https_only: true, short };
        let query = issue(&signer, &identity, TARGET, grant);
        (signer, query, from)
    }

    fn verdict(
        signer: &Signer,
        query: &str,
        target: Target<'_>,
        any_of: &[char],
        now: OffsetDateTime,
    ) -> String {
        match check(signer, target, &Params::parse(query.as_bytes()), any_of, now) {
            Ok(()) => "ok".to_owned(),
            Err(refused) => refused.detail().to_owned(),
        }
    }

    #[test]
    fn a_signature_grants_what_it_says_and_is_longer_than_256_characters_unless_it_is_to_be_short() {
        let (signer, query, now) = signed(60, true);
        assert!(query.len() < 256, "{query}");
        assert_eq!(verdict(&signer, &query, TARGET, &['w'], now), "ok");
        let (signer, query, now) = signed(60, false);
        assert!(query.len() > 256, "{query}");
        assert_eq!(verdict(&signer, &query, TARGET, &['w', 'c'], now), "ok");
        assert!(verdict(&signer, &query, TARGET, &['d'], now).contains("permits 'rw'"));
    }

    #[test]
    fn a_signature_is_worthless_elsewhere_later_changed_or_cut() {
        let (signer, query, now) = signed(60, false);
        let other = Target { name: "other", ..TARGET };
        let queue = Target { service: Service::Queue, ..TARGET };
        assert_eq!(verdict(&signer, &query, other, &['r'], now), "Signature did not match.");
        assert_eq!(verdict(&signer, &query, queue, &['r'], now), "Signature did not match.");
        let late = now + Duration::seconds(61);
        assert!(verdict(&signer, &query, TARGET, &['r'], late).starts_with("Signature not valid in the"));
        let wider = query.replace("sp=rw", "sp=rwd");
        assert_eq!(verdict(&signer, &wider, TARGET, &['d'], now), "Signature did not match.");
        let cut = &query[..256];
        assert_ne!(verdict(&signer, cut, TARGET, &['r'], now), "ok");
        assert_eq!(verdict(&signer, "", TARGET, &['r'], now), "The URL has no signature (sig).");
    }
}
