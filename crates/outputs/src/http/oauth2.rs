//! Tokens by OAuth 2.0's client credentials, as Fluent Bit's `oauth2.*` options ask for them.
//!
//! A token is asked for when the first request needs one, kept until shortly before it ends, and asked for anew when a
//! server says 401 to it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Request, Uri};
use net::client::{Body, Client, Settings, pem};
use options::{Choice, Options, Period, Reader, Secret};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

/// Bytes of a token's answer.
const ANSWER: usize = 64 << 10;

/// The time that a token service has when `oauth2.timeout` does not say.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Options)]
#[options(check = OAuth2Options::check)]
pub(super) struct OAuth2Options {
    /// Ask a token service for a token, and show it with each request.
    #[option(name = "oauth2.enable", default = "off")]
    enable: bool,
    /// The token service.
    #[option(name = "oauth2.token_url")]
    token_url: Option<String>,
    /// Who we are there.
    #[option(name = "oauth2.client_id")]
    client_id: Option<String>,
    /// The secret that proves it.
    #[option(name = "oauth2.client_secret")]
    client_secret: Option<Secret>,
    /// What the token is to allow.
    #[option(name = "oauth2.scope")]
    scope: Option<String>,
    /// Whom the token is for.
    #[option(name = "oauth2.audience")]
    audience: Option<String>,
    /// What the token is for.
    #[option(name = "oauth2.resource")]
    resource: Option<String>,
    /// How we prove who we are: the secret in a header, the secret in the form, or a signed statement.
    #[option(name = "oauth2.auth_method", default = "basic")]
    auth_method: Method,
    /// PEM file with the RSA key that statements are signed with.
    #[option(name = "oauth2.jwt_key_file")]
    jwt_key_file: Option<String>,
    /// PEM file with the certificate of that key.
    #[option(name = "oauth2.jwt_cert_file")]
    jwt_cert_file: Option<String>,
    /// Whom statements are for; without it, the token service.
    #[option(name = "oauth2.jwt_aud")]
    jwt_aud: Option<String>,
    /// The header of statements that says which certificate: kid, x5t or x5t#S256.
    #[option(name = "oauth2.jwt_header", default = "kid")]
    jwt_header: String,
    /// Seconds that statements are valid for.
    #[option(name = "oauth2.jwt_ttl_seconds", default = "300", min = "1")]
    jwt_ttl_seconds: u64,
    /// Seconds before the end of a token at which another is asked for.
    #[option(name = "oauth2.refresh_skew_seconds", default = "60")]
    refresh_skew_seconds: u64,
    /// The time that the token service has for an answer; 0 for 10 s.
    #[option(name = "oauth2.timeout", default = "0s")]
    timeout: Period,
    /// The time to connect to it; 0 for `net.connect_timeout`.
    #[option(name = "oauth2.connect_timeout", default = "0s")]
    connect_timeout: Period,
    /// The User-Agent that it sees.
    #[option(name = "oauth2.user_agent")]
    user_agent: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Method {
    Basic,
    Post,
    #[choice(name = "private_key_jwt")]
    PrivateKeyJwt,
}

impl OAuth2Options {
    fn check(&self, reader: &mut Reader<'_>) {
        if !self.enable {
            return;
        }
        let statement = self.auth_method == Method::PrivateKeyJwt;
        for (option, needed, set) in [
            ("oauth2.token_url", true, self.token_url.is_some()),
            ("oauth2.client_id", true, self.client_id.is_some()),
            ("oauth2.client_secret", !statement, self.client_secret.is_some()),
            ("oauth2.jwt_key_file", statement, self.jwt_key_file.is_some()),
            ("oauth2.jwt_cert_file", statement, self.jwt_cert_file.is_some()),
        ] {
            if needed && !set {
                let what = format!("oauth2.enable is on and {option} is missing");
                reader.refuse("oauth2.enable", what, Some(format!("set {option}")));
            }
        }
    }
}

/// Where tokens come from.
pub(super) struct Tokens {
    options: OAuth2Options,
    url: Uri,
    /// Keeps no connection, so any lane may use it.
    client: Client,
    signer: Option<Signer>,
    token: Mutex<Option<Token>>,
}

struct Token {
    header: HeaderValue,
    until: Instant,
}

struct Signer {
    key: RsaKeyPair,
    /// The digest of the certificate, as the header has it.
    certificate: String,
}

/// Why there is no token.
pub(super) enum NoToken {
    /// The service is not to be reached, or has trouble.
    Later(String),
    /// It does not give us one.
    Denied(String),
}

impl Tokens {
    /// `None` without `oauth2.enable`; an error is the option to put right, and why.
    pub(super) fn new(
        options: OAuth2Options,
        settings: &Settings,
    ) -> Result<Option<Tokens>, (&'static str, String)> {
        let (true, Some(url)) = (options.enable, &options.token_url) else { return Ok(None) };
        let wrong = |_| ("oauth2.token_url", format!("\"{url}\" is no URL"));
        let url: Uri = url.parse().map_err(wrong)?;
        if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() {
            return Err(("oauth2.token_url", "write https://host/path".to_owned()));
        }
        let signer = match options.auth_method {
            Method::PrivateKeyJwt => Some(Signer::new(&options)?),
            _ => None,
        };
        let or = |period: Period, otherwise| if period.0.is_zero() { otherwise } else { period.0 };
        let client = Client::new(Settings {
            exchange_timeout: or(options.timeout, PATIENCE),
            connect_timeout: or(options.connect_timeout, settings.connect_timeout),
            idle: 0,
            response_bytes: ANSWER,
            toll: Default::default(),
            ..settings.clone()
        });
        Ok(Some(Tokens { options, url, client, signer, token: Mutex::new(None) }))
    }

    /// The value of `Authorization`.
    pub(super) async fn header(&self) -> Result<HeaderValue, NoToken> {
        if let Some(token) = &*self.token.lock().unwrap_or_else(PoisonError::into_inner)
            && Instant::now() < token.until
        {
            return Ok(token.header.clone());
        }
        let token = self.ask().await?;
        let header = token.header.clone();
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(header)
    }

    /// The token was not taken.
    pub(super) fn forget(&self) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn ask(&self) -> Result<Token, NoToken> {
        let request = self.request().map_err(NoToken::Denied)?;
        let response = self.client.send(request).await.map_err(|error| NoToken::Later(error.to_string()))?;
        let status = response.status();
        if !status.is_success() {
            let text = String::from_utf8_lossy(response.body()).chars().take(200).collect::<String>();
            let why = format!(
                "the token service answered {status}: {}",
                text.split_whitespace().collect::<Vec<_>>().join(" ")
            );
            let denied = status.is_client_error() && status.as_u16() != 429;
            return Err(if denied { NoToken::Denied(why) } else { NoToken::Later(why) });
        }
        self.read(response.body())
            .ok_or_else(|| NoToken::Later("the token service's answer has no token".to_owned()))
    }

    fn read(&self, body: &[u8]) -> Option<Token> {
        let answer: Value = serde_json::from_slice(body).ok()?;
        let token = answer["access_token"].as_str()?;
        let kind = answer["token_type"].as_str().unwrap_or("Bearer");
        let mut header = HeaderValue::try_from(format!("{kind} {token}")).ok()?;
        header.set_sensitive(true);
        let seconds = answer["expires_in"].as_u64().or_else(|| answer["expires_in"].as_str()?.parse().ok());
        let seconds =
            seconds.unwrap_or(300).saturating_sub(self.options.refresh_skew_seconds).clamp(1, 86_400);
        Some(Token { header, until: Instant::now() + Duration::from_secs(seconds) })
    }

    fn request(&self) -> Result<Request<Body>, String> {
        let options = &self.options;
        let id = options.client_id.as_deref().unwrap_or_default();
        let secret = options.client_secret.as_ref().map_or("", Secret::expose);
        let mut form = "grant_type=client_credentials".to_owned();
        for (name, value) in
            [("scope", &options.scope), ("audience", &options.audience), ("resource", &options.resource)]
        {
            if let Some(value) = value {
                put(&mut form, name, value);
            }
        }
        let mut request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .header(
                USER_AGENT,
                options.user_agent.as_deref().unwrap_or(concat!("Weir/", env!("CARGO_PKG_VERSION"))),
            );
        match options.auth_method {
            Method::Basic => {
                let value = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
                let mut value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
                value.set_sensitive(true);
                request = request.header(AUTHORIZATION, value);
            }
            Method::Post => {
                put(&mut form, "client_id", id);
                put(&mut form, "client_secret", secret);
            }
            Method::PrivateKeyJwt => {
                put(&mut form, "client_id", id);
                put(
                    &mut form,
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                );
                put(&mut form, "client_assertion", &self.statement(id)?);
            }
        }
        request.body(Body::from(form)).map_err(|error| error.to_string())
    }

    /// `header.claims.signature`: who we are, signed with our key (RFC 7523).
    fn statement(&self, id: &str) -> Result<String, String> {
        let Some(signer) = &self.signer else { return Err("there is no key to sign with".to_owned()) };
        let own = self.url.to_string();
        let audience = self.options.jwt_aud.as_deref().unwrap_or(&own);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let header = json!({"alg": "RS256", "typ": "JWT", &self.options.jwt_header: signer.certificate});
        let claims = json!({
            "iss": id, "sub": id, "aud": audience, "iat": now,
            "exp": now + self.options.jwt_ttl_seconds, "jti": unique()?,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; signer.key.public().modulus_len()];
        let signed =
            signer.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature);
        signed.map_err(|_| "the key does not sign".to_owned())?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl Signer {
    fn new(options: &OAuth2Options) -> Result<Signer, (&'static str, String)> {
        let key_file = options.jwt_key_file.as_deref().unwrap_or_default();
        let key = pem::private_key("oauth2.jwt_key_file", key_file)
            .map_err(|refused| (refused.option, refused.what))?;
        let read = match &key {
            pem::PrivateKey::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
            pem::PrivateKey::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
            _ => return Err(("oauth2.jwt_key_file", format!("{key_file} has no RSA key"))),
        };
        let key = read.map_err(|error| {
            ("oauth2.jwt_key_file", format!("{key_file} has no RSA key of 2048 bits or more: {error}"))
        })?;
        let file = options.jwt_cert_file.as_deref().unwrap_or_default();
        let certificates = pem::certificates("oauth2.jwt_cert_file", file)
            .map_err(|refused| (refused.option, refused.what))?;
        let Some(certificate) = certificates.first() else {
            return Err(("oauth2.jwt_cert_file", format!("{file} has no certificate")));
        };
        let header = options.jwt_header.to_ascii_lowercase();
        let sum = digest(if header == "x5t#s256" { &SHA256 } else { &SHA1_FOR_LEGACY_USE_ONLY }, certificate);
        let certificate = match header.as_str() {
            "x5t" | "x5t#s256" => URL_SAFE_NO_PAD.encode(sum),
            _ => sum.as_ref().iter().map(|byte| format!("{byte:02X}")).collect(),
        };
        Ok(Signer { key, certificate })
    }
}

/// A number that no other statement has, as a UUID.
fn unique() -> Result<String, String> {
    let mut bytes = [0u8; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "no random numbers".to_owned())?;
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let text = format!("{number:032x}");
    Ok([&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-"))
}

/// Appends a field of a form.
fn put(form: &mut String, name: &str, value: &str) {
    form.push('&');
    form.push_str(name);
    form.push('=');
    for byte in value.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' => form.push(byte as char),
            _ if byte.is_ascii_alphanumeric() => form.push(byte as char),
            _ => form.push_str(&format!("%{byte:02X}")),
        }
    }
}
