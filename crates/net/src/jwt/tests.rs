use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// 2048 bits, made for these tests by `openssl genpkey -algorithm RSA`.
const ONE: &[u8] = include_bytes!("../../tests/keys/one.pem");
const OTHER: &[u8] = include_bytes!("../../tests/keys/other.pem");

fn key(pem: &[u8]) -> RsaKeyPair {
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem).unwrap();
    RsaKeyPair::from_pkcs8(PrivateKeyDer::Pkcs8(key).secret_der()).unwrap()
}

fn public(pem: &[u8], kid: &str) -> Value {
    let key = key(pem);
    let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
    json!({
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid,
        "n": BASE64.encode(public.n),
        "e": BASE64.encode(public.e),
        "x5c": ["MIIC"],
    })
}

fn sign(pem: &[u8], header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
    let key = key(pem);
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", BASE64.encode(signature))
}

const ISSUER: &str = "https://issuer.example/";

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "logs", "exp": 2_000, "nbf": 900, "azp": "agent"})
}

fn header(kid: &str) -> Value {
    json!({"alg": "RS256", "typ": "JWT", "kid": kid})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// A server of key sets: each request gets the next answer, and the last one for ever.
async fn issuer(answers: Vec<String>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { break };
                head.push(byte);
            }
            let number = count.fetch_add(1, Ordering::Relaxed);
            let answer = &answers[number.min(answers.len() - 1)];
            // A client may have seen enough and closed.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, requests)
}

fn ok(keys: &[Value]) -> String {
    let body = json!({ "keys": keys }).to_string();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

const DOWN: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

fn options(url: &str) -> ValidateOptions {
    ValidateOptions {
        validate: true,
        issuer: Some(ISSUER.to_owned()),
        jwks_url: Some(url.to_owned()),
        allowed_audience: Some("logs".to_owned()),
        allowed_clients: vec![SpaceList(vec!["agent".to_owned()]), SpaceList(vec!["other".to_owned()])],
        refresh_interval: Period(Duration::from_secs(300)),
    }
}

/// A validator, the time at which the tokens of these tests are valid, and the number of fetches.
async fn validator(answers: Vec<String>) -> (Validator, Now, Arc<AtomicUsize>) {
    let (url, requests) = issuer(answers).await;
    let validator = Validator::new(&options(&url)).unwrap().unwrap();
    (validator, Now { instant: Instant::now(), unix: 1_000.0 }, requests)
}

fn later(now: Now, seconds: u64) -> Now {
    Now { instant: now.instant + Duration::from_secs(seconds), ..now }
}

async fn check(validator: &Validator, token: &str, now: Now) -> Result<(), Denied> {
    validator.check_at(Some(format!("Bearer {token}").as_bytes()), now).await
}

#[tokio::test]
async fn a_token_signed_by_a_key_of_the_set_is_let_in() {
    let (validator, now, requests) = validator(vec![ok(&[public(OTHER, "b"), public(ONE, "a")])]).await;
    for token in [sign(ONE, &header("a"), &claims()), sign(OTHER, &header("b"), &claims())] {
        assert_eq!(check(&validator, &token, now).await, Ok(()));
        let header = format!(" bEARER  {token} ");
        assert_eq!(validator.check_at(Some(header.as_bytes()), now).await, Ok(()));
    }
    assert_eq!(requests.load(Ordering::Relaxed), 1, "the keys are fetched once");
}

#[tokio::test]
async fn each_claim_is_checked() {
    let (validator, now, _) = validator(vec![ok(&[public(ONE, "a")])]).await;
    let cases = [
        (with("aud", json!(["x", "logs"])), Ok(())),
        (with("exp", json!(1_000.5)), Ok(())),
        (with("nbf", json!(1_060)), Ok(())),
        (without("nbf"), Ok(())),
        (with("azp", json!("other")), Ok(())),
        (with("client_id", json!("stranger")), Ok(())),
        (with("exp", json!(1_000)), Err(Denied::Expired)),
        (with("nbf", json!(1_061)), Err(Denied::Early)),
        (with("iss", json!("https://issuer.example")), Err(Denied::Issuer)),
        (with("aud", json!("log")), Err(Denied::Audience)),
        (with("aud", json!(["x", "y"])), Err(Denied::Audience)),
        (with("aud", json!([])), Err(Denied::Audience)),
        (with("azp", json!("stranger")), Err(Denied::Client)),
        (without("azp"), Err(Denied::Client)),
        (without("exp"), Err(Denied::Missing("exp"))),
        (without("iss"), Err(Denied::Missing("iss"))),
        (without("aud"), Err(Denied::Missing("aud"))),
        (with("exp", json!("2000")), Err(Denied::Malformed("payload"))),
        (json!([]), Err(Denied::Malformed("payload"))),
    ];
    for (claims, expected) in cases {
        let token = sign(ONE, &header("a"), &claims);
        assert_eq!(check(&validator, &token, now).await, expected, "{claims}");
    }
    for name in ["client_id", "appid"] {
        let mut claims = without("azp");
        claims[name] = json!("agent");
        assert_eq!(check(&validator, &sign(ONE, &header("a"), &claims), now).await, Ok(()), "{name}");
    }
}

#[tokio::test]
async fn a_signature_by_another_key_or_of_other_claims_is_refused() {
    let (validator, now, _) = validator(vec![ok(&[public(ONE, "a"), public(OTHER, "b")])]).await;
    let forged = sign(OTHER, &header("a"), &claims());
    assert_eq!(check(&validator, &forged, now).await, Err(Denied::Signature));
    let token = sign(ONE, &header("a"), &with("azp", json!("other")));
    let claims = BASE64.encode(claims().to_string());
    let parts: Vec<&str> = token.split('.').collect();
    let swapped = format!("{}.{claims}.{}", parts[0], parts[2]);
    assert_eq!(check(&validator, &swapped, now).await, Err(Denied::Signature));
    let unsigned = format!("{}.{}.", parts[0], parts[1]);
    assert_eq!(check(&validator, &unsigned, now).await, Err(Denied::Signature));
}

#[tokio::test]
async fn what_is_no_token_or_is_signed_in_another_way_is_refused_without_a_fetch() {
    let (validator, now, requests) = validator(vec![ok(&[public(ONE, "a")])]).await;
    let form = Denied::Malformed("form (three parts with dots between them)");
    let none = sign(ONE, &json!({"alg": "none", "kid": "a"}), &claims());
    let hmac = sign(ONE, &json!({"alg": "HS256", "kid": "a"}), &claims());
    let nameless = sign(ONE, &json!({"alg": "RS256"}), &claims());
    let critical = sign(ONE, &json!({"alg": "RS256", "kid": "a", "crit": ["b64"]}), &claims());
    let cases = [
        (None, Denied::NoHeader),
        (Some(String::new()), Denied::NoBearer),
        (Some("Basic YTpi".to_owned()), Denied::NoBearer),
        (Some("Bearer".to_owned()), Denied::NoBearer),
        (Some("Bearer opaque".to_owned()), form.clone()),
        (Some("Bearer a.b.c.d".to_owned()), form),
        (Some("Bearer !.b.c".to_owned()), Denied::Malformed("header")),
        (Some("Bearer e30.e30.".to_owned()), Denied::Malformed("header")),
        (Some(format!("Bearer {}.[.x", none.split('.').next().unwrap())), Denied::Algorithm),
        (Some(format!("Bearer {none}")), Denied::Algorithm),
        (Some(format!("Bearer {hmac}")), Denied::Algorithm),
        (Some(format!("Bearer {nameless}")), Denied::Missing("kid")),
        (Some(format!("Bearer {critical}")), Denied::Malformed("header (it has a \"crit\")")),
        (Some(format!("Bearer {}", "x".repeat(Validator::TOKEN_BYTES + 1))), Denied::TooLong),
    ];
    for (header, expected) in cases {
        let found = validator.check_at(header.as_deref().map(str::as_bytes), now).await;
        assert_eq!(found, Err(expected), "{header:?}");
    }
    assert_eq!(requests.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn keys_are_fetched_again_when_they_are_old_and_a_key_that_is_gone_is_refused_then() {
    let (validator, now, requests) =
        validator(vec![ok(&[public(ONE, "a")]), ok(&[public(OTHER, "b")])]).await;
    let token = sign(ONE, &header("a"), &claims());
    assert_eq!(check(&validator, &token, now).await, Ok(()));
    assert_eq!(check(&validator, &token, later(now, 299)).await, Ok(()));
    assert_eq!(requests.load(Ordering::Relaxed), 1);
    assert_eq!(check(&validator, &token, later(now, 300)).await, Err(Denied::UnknownKey));
    assert_eq!(requests.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_unknown_key_has_the_set_fetched_but_not_by_every_token() {
    let (validator, now, requests) =
        validator(vec![ok(&[public(ONE, "a")]), ok(&[public(ONE, "a"), public(OTHER, "b")])]).await;
    assert_eq!(check(&validator, &sign(ONE, &header("a"), &claims()), now).await, Ok(()));
    let new = sign(OTHER, &header("b"), &claims());
    assert_eq!(check(&validator, &new, later(now, 29)).await, Err(Denied::UnknownKey));
    assert_eq!(requests.load(Ordering::Relaxed), 1, "too soon");
    assert_eq!(check(&validator, &new, later(now, 30)).await, Ok(()));
    assert_eq!(requests.load(Ordering::Relaxed), 2);
    for n in 0..20 {
        let invented = sign(OTHER, &header(&format!("x{n}")), &claims());
        assert_eq!(check(&validator, &invented, later(now, 40)).await, Err(Denied::UnknownKey));
    }
    assert_eq!(requests.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_token_that_was_let_in_is_let_in_until_it_expires_or_its_key_is_gone() {
    let (validator, now, _) = validator(vec![ok(&[public(ONE, "a")]), ok(&[public(OTHER, "b")])]).await;
    let token = sign(ONE, &header("a"), &claims());
    for unix in [1_000.0, 1_999.9] {
        assert_eq!(check(&validator, &token, Now { unix, ..now }).await, Ok(()));
    }
    assert_eq!(check(&validator, &token, Now { unix: 2_000.0, ..now }).await, Err(Denied::Expired));
    // A token with a new key has the set fetched, from which the old key is gone.
    let new = sign(OTHER, &header("b"), &claims());
    assert_eq!(check(&validator, &new, later(now, 30)).await, Ok(()));
    assert_eq!(check(&validator, &token, later(now, 30)).await, Err(Denied::UnknownKey));
}

#[tokio::test]
async fn known_keys_outlive_an_issuer_that_is_down_for_an_hour() {
    let (validator, now, requests) = validator(vec![ok(&[public(ONE, "a")]), DOWN.to_owned()]).await;
    let token = sign(ONE, &header("a"), &claims());
    assert_eq!(check(&validator, &token, now).await, Ok(()));
    assert_eq!(check(&validator, &token, later(now, 300)).await, Ok(()));
    assert_eq!(check(&validator, &token, later(now, 305)).await, Ok(()));
    assert_eq!(requests.load(Ordering::Relaxed), 2, "not for every request");
    assert_eq!(check(&validator, &token, later(now, 310)).await, Ok(()));
    assert_eq!(requests.load(Ordering::Relaxed), 3);
    assert_eq!(check(&validator, &token, later(now, 3900)).await, Err(Denied::NoKeys));
}

#[tokio::test]
async fn without_keys_nobody_is_let_in_and_the_client_is_not_to_blame() {
    let too_long = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", keys::SET_BYTES + 1)
        + &" ".repeat(keys::SET_BYTES + 1);
    let elliptic = json!({"kty": "EC", "kid": "a", "crv": "P-256", "x": "", "y": ""});
    let mut secret = public(ONE, "a");
    secret["use"] = json!("enc");
    for answer in [DOWN.to_owned(), ok(&[]), ok(&[elliptic]), ok(&[secret]), too_long] {
        let (validator, now, requests) = validator(vec![answer, ok(&[public(ONE, "a")])]).await;
        let token = sign(ONE, &header("a"), &claims());
        let denied = check(&validator, &token, now).await.unwrap_err();
        assert!(denied == Denied::NoKeys && denied.is_temporary(), "{denied}");
        assert_eq!(check(&validator, &token, later(now, 9)).await, Err(Denied::NoKeys));
        assert_eq!(requests.load(Ordering::Relaxed), 1, "not for every request");
        assert_eq!(check(&validator, &token, later(now, 10)).await, Ok(()));
    }
}

#[tokio::test]
async fn requests_that_come_at_once_share_one_fetch() {
    let (validator, now, requests) = validator(vec![ok(&[public(ONE, "a")])]).await;
    let validator = Arc::new(validator);
    let token = sign(ONE, &header("a"), &claims());
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (validator, token) = (Arc::clone(&validator), token.clone());
            tokio::spawn(async move { check(&validator, &token, now).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Ok(()));
    }
    assert_eq!(requests.load(Ordering::Relaxed), 1);
}

#[test]
fn keys_come_over_https_or_from_this_host() {
    for (url, taken) in [
        ("https://login.example/keys", true),
        ("http://localhost:8080/keys", true),
        ("http://127.0.0.1/keys", true),
        ("http://[::1]:80/keys", true),
        ("http://login.example/keys", false),
        ("http://localhost.example/keys", false),
        ("ftp://localhost/keys", false),
        ("/keys", false),
        ("https://", false),
    ] {
        assert_eq!(trustworthy(url), taken, "{url}");
    }
}

#[test]
fn no_validator_without_the_option() {
    let options = ValidateOptions { validate: false, ..options("http://localhost/keys") };
    assert!(Validator::new(&options).unwrap().is_none());
}
