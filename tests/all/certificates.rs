//! Certificates for tests, made anew for each.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// A folder with an authority and what it has signed: `ca.pem`, `server.pem`, `server.key`, `client.pem`,
/// `client.key`; and `stranger.pem`, `stranger.key`, signed by nobody.
pub struct Certificates(tempfile::TempDir);

impl Certificates {
    pub fn new() -> Certificates {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        write(folder.path(), "ca.pem", &params.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(params, key);
        for name in ["server", "client"] {
            let (params, key) = of(name);
            write(folder.path(), &format!("{name}.pem"), &params.signed_by(&key, &issuer).unwrap().pem());
            write(folder.path(), &format!("{name}.key"), &key.serialize_pem());
        }
        let (params, key) = of("stranger");
        write(folder.path(), "stranger.pem", &params.self_signed(&key).unwrap().pem());
        write(folder.path(), "stranger.key", &key.serialize_pem());
        Certificates(folder)
    }

    pub fn path(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn of(name: &str) -> (CertificateParams, KeyPair) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), name.to_owned()];
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    (params, KeyPair::generate().unwrap())
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}
