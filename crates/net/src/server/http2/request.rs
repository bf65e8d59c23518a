//! The head of a request: RFC 9113 section 8.

use std::cell::RefCell;

use super::super::{Answer, Begin, Head, Service};
use super::HEAD_BYTES;
use super::hpack::{Broken, Decoder, Fields};

/// The most fields beside the pseudo-header.
const FIELDS: usize = 64;

thread_local! {
    /// One for the lane: it is used between two waits only.
    static DECODED: RefCell<Fields> = RefCell::default();
}

/// What a head says.
pub(super) enum Heard<B> {
    Request {
        begin: Begin<B>,
        head_only: bool,
        /// The length of the body, when it is said.
        length: Option<u64>,
    },
    /// Not a request by the rules: section 8.1.1.
    Malformed,
}

/// Reads a head and asks the service. Not a future, so that the fields are on the stack only here.
pub(super) fn hear<S: Service>(
    decoder: &mut Decoder,
    service: &S,
    block: &[u8],
) -> Result<Heard<S::Body>, Broken> {
    DECODED.with_borrow_mut(|fields| {
        decoder.decode(block, HEAD_BYTES, fields)?;
        if fields.too_large {
            let answer = Answer::text(431, "error: the request's head is too long");
            return Ok(Heard::Request { begin: Begin::Answer(answer), head_only: false, length: None });
        }
        Ok(read(service, fields).unwrap_or(Heard::Malformed))
    })
}

/// Reads fields that nobody looks at, because the table depends on them.
pub(super) fn pass_over(decoder: &mut Decoder, block: &[u8]) -> Result<(), Broken> {
    DECODED.with_borrow_mut(|fields| decoder.decode(block, HEAD_BYTES, fields))
}

fn read<S: Service>(service: &S, fields: &Fields) -> Option<Heard<S::Body>> {
    let mut lines = [httparse::EMPTY_HEADER; FIELDS];
    let mut count = 0;
    let [mut method, mut target, mut scheme, mut authority] = [None; 4];
    let mut length = None;
    for (name, value) in fields.iter() {
        if let Some(pseudo) = name.strip_prefix(b":") {
            let slot = match pseudo {
                b"method" => &mut method,
                b"path" => &mut target,
                b"scheme" => &mut scheme,
                b"authority" => &mut authority,
                _ => return None,
            };
            // Each once, and before all others.
            if count > 0 || slot.replace(std::str::from_utf8(value).ok()?).is_some() {
                return None;
            }
            continue;
        }
        let name = std::str::from_utf8(name).ok().filter(|name| is_allowed(name, value))?;
        if name == "content-length" {
            let said = std::str::from_utf8(value).ok()?.parse().ok()?;
            if value.iter().any(|byte| !byte.is_ascii_digit())
                || length.replace(said).is_some_and(|l| l != said)
            {
                return None;
            }
        }
        *lines.get_mut(count)? = httparse::Header { name, value };
        count += 1;
    }
    let (method, target, _) = (method?, target.filter(|target| !target.is_empty())?, scheme?);
    let head = Head { method, target, headers: &lines[..count] };
    Some(Heard::Request { begin: service.begin(&head), head_only: method == "HEAD", length })
}

/// Sections 8.2.1 and 8.2.2: names in lower case, no line ends in values, and none of the fields that belong to
/// connections of HTTP/1.
fn is_allowed(name: &str, value: &[u8]) -> bool {
    let is_name = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && byte != b':';
    let of_http1 = ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"];
    !name.is_empty()
        && name.bytes().all(is_name)
        && !value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
        && !of_http1.contains(&name)
        && (name != "te" || value.eq_ignore_ascii_case(b"trailers"))
}
