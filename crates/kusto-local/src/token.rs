//! The token endpoint: Microsoft Entra ID's client-credentials flow, for one tenant and one application.
//!
//! After "Microsoft identity platform and the OAuth 2.0 client credentials flow" and "Microsoft Entra
//! authentication and authorization error codes":
//!
//! * `POST /{tenant}/oauth2/v2.0/token` with `grant_type=client_credentials`, `client_id`, `client_secret`
//!   and a `scope` which ends in `/.default`;
//! * `GET /{tenant}/v2.0/.well-known/openid-configuration` and `GET /common/discovery/instance`, which
//!   clients built on MSAL read before they ask for a token.
//!
//! * `client_assertion` in place of the secret: the contents of the file `federated-token`, which whoever tests
//!   workload identities may replace;
//! * the two sources of a managed identity's token.
//!
//! A token is a JWT with the claims the real one has (`aud`, `iss`, `tid`, `appid`, `exp`, ...), signed with
//! the server's own key (HS256; clients must treat a token as opaque, so the algorithm is no part of the
//! protocol). The server keeps no list of tokens: they hold over a restart until they expire.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::http::{self as web, Params, Reply};
use crate::secrets::{Signer, request_id};
use crate::state::State;
use crate::{limits, stamp};

const PURPOSE: &str = "access-token";

/// The type of a federated token.
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    iss: String,
    tid: String,
    appid: String,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// Why no token is given.
struct Denied {
    status: StatusCode,
    error: &'static str,
    code: u32,
    text: String,
}

fn deny<T>(error: &'static str, code: u32, text: impl Into<String>) -> Result<T, Denied> {
    // Only a client that is known and does not prove it is unauthorized; the rest is a bad request.
    let status = if error == "invalid_client" { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
    Err(Denied { status, error, code, text: text.into() })
}

/// `POST /{tenant}/oauth2/v2.0/token`.
pub(crate) async fn issue(state: &State, tenant: &str, body: Incoming) -> Reply {
    let audience = match web::read(body, limits::TOKEN_BODY).await {
        Ok(form) => check(state, tenant, &Params::parse(&form)),
        Err(_) => deny("invalid_request", 900_144, "The request body cannot be read."),
    };
    match audience {
        Ok(audience) => grant(state, &audience),
        Err(denied) => refuse(denied.status, denied.error, denied.code, &denied.text),
    }
}

/// The checks in the order the real endpoint makes them; the audience when all hold.
fn check(state: &State, tenant: &str, form: &Params) -> Result<String, Denied> {
    let identity = &state.identity;
    if !tenant.eq_ignore_ascii_case(&identity.tenant) {
        return deny("invalid_request", 90_002, format!("Tenant '{tenant}' not found."));
    }
    let parameter = |name: &str| match form.get(name) {
        Some(value) if !value.is_empty() => Ok(value),
        _ => {
            let text = format!("The request body must contain the following parameter: '{name}'.");
            deny("invalid_request", 900_144, text)
        }
    };
    let grant_type = parameter("grant_type")?;
    if grant_type != "client_credentials" {
        let text = format!("The app requested an unsupported grant type '{grant_type}'.");
        return deny("unsupported_grant_type", 70_003, text);
    }
    let client_id = parameter("client_id")?;
    if !client_id.eq_ignore_ascii_case(&identity.client_id) {
        let text = format!(
            "Application with identifier '{client_id}' was not found in the directory '{}'.",
            identity.tenant
        );
        return deny("unauthorized_client", 700_016, text);
    }
    let scope = parameter("scope")?;
    let Some(audience) = scope.strip_suffix("/.default") else {
        let text = format!(
            "The provided value for scope {scope} is not valid. Client credential flows must have a scope value \
             with /.default suffixed to the resource identifier (application ID URI)."
        );
        return deny("invalid_scope", 1_002_012, text);
    };
    prove(state, client_id, form)?;
    Ok(audience.to_owned())
}

/// A secret, or an assertion that is the contents of the federated token's file, as it is now.
fn prove(state: &State, client_id: &str, form: &Params) -> Result<(), Denied> {
    let given = |name: &str| form.get(name).filter(|value| !value.is_empty());
    if let Some(assertion) = given("client_assertion") {
        let expected = std::fs::read(&state.federated_token_file).unwrap_or_default();
        if given("client_assertion_type") != Some(ASSERTION)
            || assertion.trim().as_bytes() != expected.trim_ascii()
        {
            let text = "Client assertion failed signature validation.";
            return deny("invalid_client", 700_027, text);
        }
        return Ok(());
    }
    let Some(secret) = given("client_secret") else {
        let text =
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
        return deny("invalid_client", 7_000_218, text);
    };
    if secret != state.identity.client_secret {
        let text = format!(
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret \
             value, not the client secret ID, for a secret added to app '{client_id}'."
        );
        return deny("invalid_client", 7_000_215, text);
    }
    Ok(())
}

/// `GET /metadata/identity/oauth2/token` as the instance metadata service of a machine answers it, and
/// `GET /msi/token` as App Service does. The system's identity and the user's with the server's client id exist.
pub(crate) fn managed(state: &State, app_service: bool, headers: &HeaderMap, query: &Params) -> Reply {
    let proven = if app_service {
        web::header(headers, "x-identity-header") == state.identity.client_secret
    } else {
        web::header(headers, "metadata").eq_ignore_ascii_case("true")
    };
    if !proven {
        let text = if app_service {
            "X-IDENTITY-HEADER is wrong."
        } else {
            "Required metadata header not specified"
        };
        return refuse(StatusCode::BAD_REQUEST, "invalid_request", 90_014, text);
    }
    if query.get("client_id").is_some_and(|id| !id.eq_ignore_ascii_case(&state.identity.client_id)) {
        return refuse(StatusCode::BAD_REQUEST, "invalid_request", 90_015, "Identity not found");
    }
    let Some(resource) = query.get("resource") else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            90_016,
            "Required query variable 'resource' is missing",
        );
    };
    let now = stamp::now().unix_timestamp();
    let lifetime = state.token_lifetime.as_secs();
    let token = sign(state, resource, now);
    // Numbers are texts here.
    web::json(
        StatusCode::OK,
        &json!({
            "access_token": token,
            "client_id": state.identity.client_id,
            "expires_in": lifetime.to_string(),
            "expires_on": now.saturating_add_unsigned(lifetime).to_string(),
            "not_before": now.to_string(),
            "resource": resource,
            "token_type": "Bearer",
        }),
    )
}

fn grant(state: &State, audience: &str) -> Reply {
    let lifetime = state.token_lifetime.as_secs();
    let token = sign(state, audience, stamp::now().unix_timestamp());
    let mut reply = web::json(
        StatusCode::OK,
        &json!({
            "token_type": "Bearer",
            "expires_in": lifetime,
            "ext_expires_in": lifetime,
            "access_token": token,
        }),
    );
    web::set(&mut reply, "cache-control", "no-store, no-cache");
    reply
}

fn sign(state: &State, audience: &str, now: i64) -> String {
    let claims = Claims {
        aud: audience.to_owned(),
        iss: format!("{}/{}/v2.0", state.base_url, state.identity.tenant),
        tid: state.identity.tenant.clone(),
        appid: state.identity.client_id.clone(),
        iat: now,
        nbf: now,
        exp: now.saturating_add_unsigned(state.token_lifetime.as_secs()),
    };
    let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"HS256"}"#);
    let claims = URL_SAFE_NO_PAD.encode(serde_json::to_string(&claims).unwrap_or_default());
    let signed = format!("{header}.{claims}");
    let signature = state.signer.sign_url_safe(PURPOSE, &signed);
    format!("{signed}.{signature}")
}

/// Checks the `Authorization` header of a request to the data-management endpoint or the engine. The error
/// says what is wrong with it, for a person to read.
pub(crate) fn authorize(state: &State, headers: &HeaderMap) -> Result<(), String> {
    let value = web::header(headers, "authorization");
    if value.is_empty() {
        return Err("the request has no Authorization header".to_owned());
    }
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(format!("the Authorization scheme is '{scheme}', not 'Bearer'"));
    }
    let claims = verify(&state.signer, token.trim())?;
    let now = stamp::now().unix_timestamp();
    if claims.exp <= now {
        return Err(format!("the token expired {} s ago", now - claims.exp));
    }
    if !is_kusto(&claims.aud, &state.base_url) {
        return Err(format!("the token is for '{}', which is no Kusto resource", claims.aud));
    }
    Ok(())
}

fn verify(signer: &Signer, token: &str) -> Result<Claims, String> {
    let (signed, signature) = token.rsplit_once('.').ok_or("the token is no JWT")?;
    if !signer.verify_url_safe(PURPOSE, signed, signature) {
        return Err("the token was not issued by this server".to_owned());
    }
    let (_, claims) = signed.split_once('.').ok_or("the token is no JWT")?;
    let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| "the token's claims are not base64")?;
    serde_json::from_slice(&claims).map_err(|error| format!("the token's claims cannot be read: {error}"))
}

/// Audiences a cluster accepts: the service's own resource in any region or cloud, and the cluster's URL.
fn is_kusto(audience: &str, base_url: &str) -> bool {
    let authority = audience.split_once("://").map_or(audience, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    let own = base_url.split_once("://").is_some_and(|(_, base)| base == authority);
    loopback || own || host.split('.').any(|label| matches!(label, "kusto" | "kustomfa"))
}

/// `GET /{tenant}/v2.0/.well-known/openid-configuration`.
pub(crate) fn openid_configuration(state: &State, tenant: &str) -> Reply {
    if !tenant.eq_ignore_ascii_case(&state.identity.tenant) {
        let text = format!("Tenant '{tenant}' not found.");
        return refuse(StatusCode::BAD_REQUEST, "invalid_tenant", 90_002, &text);
    }
    let base = &state.base_url;
    web::json(
        StatusCode::OK,
        &json!({
            "issuer": format!("{base}/{tenant}/v2.0"),
            "authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/authorize"),
            "token_endpoint": format!("{base}/{tenant}/oauth2/v2.0/token"),
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "response_types_supported": ["token"],
            "subject_types_supported": ["pairwise"],
        }),
    )
}

/// `GET /common/discovery/instance`: this host is an authority MSAL may trust.
pub(crate) fn instance_discovery(state: &State) -> Reply {
    let host = state.authority();
    let tenant = &state.identity.tenant;
    web::json(
        StatusCode::OK,
        &json!({
            "tenant_discovery_endpoint":
                format!("{}/{tenant}/v2.0/.well-known/openid-configuration", state.base_url),
            "api-version": "1.1",
            "metadata": [{ "preferred_network": host, "preferred_cache": host, "aliases": [host] }],
        }),
    )
}

/// An error as the token endpoint writes it.
pub(crate) fn refuse(status: StatusCode, error: &str, code: u32, text: &str) -> Reply {
    let (trace, correlation) = (request_id(), request_id());
    let now = stamp::aad(stamp::now());
    let description =
        format!("AADSTS{code}: {text} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {now}");
    web::json(
        status,
        &json!({
            "error": error,
            "error_description": description,
            "error_codes": [code],
            "timestamp": now,
            "trace_id": trace,
            "correlation_id": correlation,
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kusto_audiences_are_accepted_and_others_are_not() {
        let base = "https://127.0.0.1:4443";
        for good in [
            "https://kusto.kusto.windows.net",
            "https://help.kusto.windows.net",
            "https://kusto.kustomfa.windows.net",
            "https://api.kusto.windows.net",
            "https://127.0.0.1:4443",
            "https://localhost:4443/",
        ] {
            assert!(is_kusto(good, base), "{good}");
        }
        for bad in ["https://storage.azure.com", "https://vault.azure.net", "", "https://kusto-not.example"] {
            assert!(!is_kusto(bad, base), "{bad}");
        }
    }
}
