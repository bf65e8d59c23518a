//! The page at `/`: tables with their rows per second, the last ingestions, and what clients did wrong. It is one file
//! that needs nothing from anywhere; it asks `/local/stats` and `/local/recent` every second.

use http::StatusCode;

use crate::http::{self as web, Reply};

/// `GET /`.
pub(crate) fn page() -> Reply {
    let mut reply = web::answer(StatusCode::OK, "text/html; charset=utf-8", include_str!("page.html"));
    web::set(&mut reply, "cache-control", "no-store");
    web::set(
        &mut reply,
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
    );
    reply
}
