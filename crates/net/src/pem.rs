//! Certificates and keys from files.

use std::io::Read;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::client::TlsRefused;

/// The most bytes of a file with certificates or a key: the system's own list has some 300 KB.
const PEM_BYTES: u64 = 2 << 20;
/// The most files of a directory with certificates.
const PEM_FILES: usize = 1_000;

pub(crate) fn refused(option: &'static str, what: impl Into<String>) -> TlsRefused {
    TlsRefused { option, what: what.into() }
}

/// All certificates of a file, at least one.
///
/// # Errors
/// [`TlsRefused`] with the option that names the file.
pub fn certificates(option: &'static str, file: &str) -> Result<Vec<CertificateDer<'static>>, TlsRefused> {
    let bytes = read(option, file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(refused(option, format!("{file} has no certificate"))),
        Err(error) => Err(refused(option, format!("{file} is not PEM: {error}"))),
    }
}

/// The key of a file.
///
/// # Errors
/// [`TlsRefused`] with the option that names the file.
pub fn private_key(option: &'static str, file: &str) -> Result<PrivateKeyDer<'static>, TlsRefused> {
    let bytes = read(option, file)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let encrypted = bytes.windows(9).any(|word| word == b"ENCRYPTED");
        let why = if encrypted {
            format!("is encrypted: write it in the clear with \"openssl pkey -in {file} -out FILE\"")
        } else {
            format!("has no key: {error}")
        };
        refused(option, format!("{file} {why}"))
    })
}

/// The bytes of a file.
pub(crate) fn read(option: &'static str, file: &str) -> Result<Vec<u8>, TlsRefused> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(file).and_then(|open| open.take(PEM_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 <= PEM_BYTES => Ok(bytes),
        Ok(_) => Err(refused(option, format!("{file} has more than {PEM_BYTES} bytes"))),
        Err(error) => Err(refused(option, format!("cannot read {file}: {error}"))),
    }
}

/// The files of a directory whose names end as those of certificates do.
pub(crate) fn files_of(option: &'static str, directory: &str) -> Result<Vec<String>, TlsRefused> {
    let unreadable = |error| refused(option, format!("cannot read {directory}: {error}"));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)?.take(PEM_FILES) {
        let path = entry.map_err(unreadable)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if matches!(ending, Some("pem" | "crt" | "cer")) {
            files.extend(path.to_str().map(str::to_owned));
        }
    }
    if files.is_empty() {
        return Err(refused(option, format!("{directory} has no file that ends in .pem, .crt or .cer")));
    }
    files.sort_unstable();
    Ok(files)
}
