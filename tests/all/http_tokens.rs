//! The http input with `oauth2.validate`: who is let in.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use testkit::{Weir, curl, have};

const ONE: &[u8] = include_bytes!("../../crates/net/tests/keys/one.pem");
const OTHER: &[u8] = include_bytes!("../../crates/net/tests/keys/other.pem");

fn key(pem: &[u8]) -> RsaKeyPair {
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem).unwrap();
    RsaKeyPair::from_pkcs8(PrivateKeyDer::Pkcs8(key).secret_der()).unwrap()
}

/// A token of a key, for an audience, that expires so many seconds from now.
fn token(pem: &[u8], audience: &str, seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": "one"});
    let claims =
        json!({"iss": "https://issuer.example/", "aud": audience, "exp": now + seconds, "azp": "app"});
    let signed = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
    let key = key(pem);
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", BASE64.encode(signature))
}

/// Serves the public half of the first key for ever; returns the URL.
fn issuer() -> String {
    let public = RsaPublicKeyComponents::<Vec<u8>>::from(key(ONE).public());
    let keys = json!({"keys": [{
        "kty": "RSA", "use": "sig", "kid": "one", "n": BASE64.encode(public.n), "e": BASE64.encode(public.e),
    }]})
    .to_string();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let _read = stream.read(&mut head).unwrap();
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", keys.len());
            stream.write_all((head + &keys).as_bytes()).unwrap();
        }
    });
    url
}

fn weir(jwks_url: &str) -> Weir {
    Weir::start(&format!(
        "
service: {{flush: 0.2, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN}}
pipeline:
  inputs:
    - name: http
      listen: 127.0.0.1
      port: PORT
      enable_health_endpoint: on
      oauth2.validate: on
      oauth2.issuer: https://issuer.example/
      oauth2.jwks_url: {jwks_url}
      oauth2.allowed_audience: logs
      oauth2.allowed_clients: app
  outputs:
    - {{name: 'null', match: '*'}}
"
    ))
}

fn post(weir: &Weir, version: &str, authorization: &str) -> (u16, String) {
    let header = format!("Authorization: {authorization}");
    let url = weir.url("/x");
    curl(&[version, "-H", "Content-Type: application/json", "-H", &header, "-d", "{}", &url])
}

#[test]
fn only_requests_with_a_valid_token_are_taken_and_the_answer_says_why_not() {
    if !have("curl") {
        return;
    }
    let weir = weir(&issuer());
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let bearer = |pem, audience, seconds| format!("Bearer {}", token(pem, audience, seconds));
        assert_eq!(post(&weir, version, &bearer(ONE, "logs", 60)).0, 201);
        for (authorization, why) in [
            (String::new(), "there is no Authorization header"),
            ("Basic YTpi".to_owned(), "has no bearer token"),
            (bearer(ONE, "metrics", 60), "is for another audience"),
            (bearer(ONE, "logs", -1), "has expired"),
            (bearer(OTHER, "logs", 60), "signature is wrong"),
        ] {
            let (status, text) = post(&weir, version, &authorization);
            assert_eq!(status, 401, "{version} {authorization}: {text}");
            assert!(text.contains(why), "{version} {authorization}: {text}");
        }
    }
    assert_eq!(curl(&[&weir.url("/health")]).0, 200, "health is for everybody");
    weir.stop();
}

#[test]
fn while_the_issuer_cannot_be_asked_clients_are_told_to_come_again() {
    if !have("curl") {
        return;
    }
    let weir = weir(&format!("http://127.0.0.1:{}/keys", testkit::free_port()));
    let (status, text) = post(&weir, "--http1.1", &format!("Bearer {}", token(ONE, "logs", 60)));
    assert_eq!(status, 503, "{text}");
    weir.stop();
}
