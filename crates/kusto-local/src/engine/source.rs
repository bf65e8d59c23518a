//! Where a message's blob is: in this server's storage, or in Azurite's.

use std::fs::File;
use std::io;

use percent_encoding::percent_decode_str;

use super::ingest::{Rejected, reject};
use super::message::Findings;
use crate::http::Params;
use crate::sas::{self, Service, Target};
use crate::stamp;
use crate::state::State;
use crate::storage::blob::At;

/// A blob that a message names.
pub(crate) enum Source {
    Own {
        account: String,
        container: String,
        blob: String,
    },
    /// The URL with its signature, and the path below the storage's root.
    Azurite {
        url: String,
        path: String,
    },
}

impl Source {
    /// Account, container and name.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Own { account, container, blob } => format!("{account}/{container}/{blob}"),
            Self::Azurite { path, .. } => path.clone(),
        }
    }

    /// Finds the blob a URL names, and checks the signature in the URL where this server is the storage.
    pub(crate) fn locate(state: &State, url: &str, findings: &mut Findings) -> Result<Self, Rejected> {
        let malformed = || Rejected::new("Download_SourceNotFound", "BlobPath is no blob URL.");
        let (_, rest) = url.split_once("://").ok_or_else(malformed)?;
        let (authority, path) = rest.split_once('/').ok_or_else(malformed)?;
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        if state.azurite.as_ref().is_some_and(|azurite| azurite.serves(authority)) {
            return Ok(Self::Azurite { url: url.to_owned(), path: decode(path) });
        }
        // The port is not compared: a message posted before a restart names the one of that time.
        if !["localhost", "127.0.0.1", "[::1]"].iter().any(|host| authority.starts_with(host)) {
            findings
                .complaints
                .push(format!("BlobPath names the host {authority}, which is not this server"));
        }
        let mut parts = path.splitn(3, '/').map(decode);
        let (Some(account), Some(container), Some(blob)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(malformed());
        };
        let target = Target { service: Service::Blob, account: &account, name: &container };
        let params = Params::parse(query.as_bytes());
        if let Err(refused) = sas::check(&state.signer, target, &params, &['r'], stamp::now()) {
            findings
                .complaints
                .push(format!("the signature of BlobPath grants nothing: {}", refused.detail()));
            return reject("Download_Forbidden", refused.detail());
        }
        Ok(Self::Own { account, container, blob })
    }

    /// Opens the blob. Azurite's is downloaded first, into a file without a name.
    pub(crate) fn open(&self, state: &State) -> Result<File, Rejected> {
        match self {
            Self::Own { account, container, blob } => {
                match state.blobs.read(At { account, container, name: blob }) {
                    Ok(Some(file)) => Ok(file),
                    Ok(None) => reject("Download_SourceNotFound", "The blob does not exist."),
                    Err(error) => reject("Download_UnknownError", error.to_string()),
                }
            }
            Self::Azurite { url, .. } => {
                let Some(azurite) = &state.azurite else {
                    return reject("Download_SourceNotFound", "no storage");
                };
                azurite.download(url, &state.blobs.scratch()).map_err(|(status, text)| match status {
                    403 => Rejected::new("Download_Forbidden", text),
                    404 => Rejected::new("Download_SourceNotFound", text),
                    _ => Rejected::new("Download_UnknownError", text),
                })
            }
        }
    }

    /// Deletes the blob.
    pub(crate) fn delete(&self, state: &State) -> io::Result<()> {
        match (self, &state.azurite) {
            (Self::Own { account, container, blob }, _) => {
                state.blobs.delete(At { account, container, name: blob })
            }
            (Self::Azurite { path, .. }, Some(azurite)) => azurite.delete_blob(path),
            (Self::Azurite { .. }, None) => Ok(()),
        }
    }
}
