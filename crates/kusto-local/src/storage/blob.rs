//! Blob storage: "Put Blob", "Put Block", "Put Block List", "Get Blob", "Get Blob Properties", "Delete Blob".
//!
//! An upload goes to a file in `storage/uploads` as it arrives and is moved to its name when it is whole
//! and on disk; a client sees a blob either whole or not at all. The name of a file is the SHA-256 of the
//! blob's name, because a blob's name may be longer than a file's. Staged blocks live in
//! `storage/blocks/HASH/` until a block list names them or a Put Blob replaces the blob.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode, request};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use ring::digest;
use time::OffsetDateTime;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};

use super::{CONTAINERS, Refusal, unescape};
use crate::http::{self as web, Params, Reply, Unread};
use crate::state::State;
use crate::{files, limits, stamp};

const CHUNK: usize = 64 << 10;
const BLOCK_ID_BYTES: usize = 64;

/// The place of one blob.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) account: &'a str,
    pub(crate) container: &'a str,
    pub(crate) name: &'a str,
}

impl At<'_> {
    fn key(self) -> String {
        let text = format!("{}/{}/{}", self.account, self.container, self.name);
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The blobs on disk.
pub(crate) struct Blobs {
    dir: PathBuf,
    uploads: AtomicU64,
    /// Held while an upload is moved to its name, so that `If-None-Match: *` is decided once.
    commit: Mutex<()>,
}

impl Blobs {
    /// Opens the blobs in `dir`; uploads a kill left unfinished are forgotten.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        let uploads = dir.join("uploads");
        if uploads.exists() {
            files::at(&uploads, fs::remove_dir_all(&uploads))?;
        }
        for part in ["uploads", "blobs", "blocks"] {
            files::make_dir(&dir.join(part))?;
        }
        Ok(Self { dir, uploads: AtomicU64::new(0), commit: Mutex::new(()) })
    }

    fn blob(&self, at: At<'_>) -> PathBuf {
        self.dir.join("blobs").join(at.key())
    }

    fn blocks(&self, at: At<'_>) -> PathBuf {
        self.dir.join("blocks").join(at.key())
    }

    /// A path for a file that nobody else uses.
    pub(crate) fn scratch(&self) -> PathBuf {
        let number = self.uploads.fetch_add(1, Ordering::Relaxed);
        self.dir.join("uploads").join(number.to_string())
    }

    fn upload(&self) -> Upload {
        Upload(self.scratch())
    }

    /// Number of blobs.
    pub(crate) fn count(&self) -> io::Result<usize> {
        Ok(self.dir.join("blobs").read_dir()?.count())
    }

    /// Opens a blob's file; None when there is no such blob.
    pub(crate) fn read(&self, at: At<'_>) -> io::Result<Option<File>> {
        match File::open(self.blob(at)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes a blob; one that is not there is as good as deleted.
    pub(crate) fn delete(&self, at: At<'_>) -> io::Result<()> {
        files::remove(&self.blob(at))
    }

    /// Moves a finished upload to its name. False when `fresh` is asked and the blob is there.
    fn commit(&self, upload: &Upload, at: At<'_>, fresh: bool) -> io::Result<bool> {
        let _held = self.commit.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.blob(at);
        if fresh && path.exists() {
            return Ok(false);
        }
        files::at(&path, fs::rename(&upload.0, &path))?;
        match fs::remove_dir_all(self.blocks(at)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(true),
        }
    }
}

/// A file under way; deleted with this value unless it was moved.
struct Upload(PathBuf);

impl Drop for Upload {
    fn drop(&mut self) {
        // Nothing to do about a failure: the folder is emptied at the next start.
        let _ = fs::remove_file(&self.0);
    }
}

/// Serves a request whose signature holds.
pub(crate) async fn serve(
    state: &Arc<State>,
    at: At<'_>,
    parts: &request::Parts,
    query: &Params,
    body: &mut Option<Incoming>,
) -> Result<Reply, Refusal> {
    if !CONTAINERS.contains(&at.container) {
        let text = "The specified container does not exist.";
        return Err(Refusal::new(StatusCode::NOT_FOUND, "ContainerNotFound", text));
    }
    if at.name.is_empty() || at.name.len() > 1024 {
        let text = "The specified resource name length is not within the permissible limits.";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "OutOfRangeInput", text));
    }
    match (parts.method.as_str(), query.get("comp"), body.take()) {
        ("PUT", None, Some(body)) => put_blob(state, at, parts, body).await,
        ("PUT", Some("block"), Some(body)) => put_block(state, at, query, body).await,
        ("PUT", Some("blocklist"), Some(body)) => put_block_list(state, at, parts, body).await,
        ("GET", None, _) => get(state, at, true).await,
        ("HEAD", None, _) => get(state, at, false).await,
        ("DELETE", None, _) => delete(state, at),
        (_, comp, unread) => {
            *body = unread;
            let text = format!("{} with comp={} is not supported.", parts.method, comp.unwrap_or("(none)"));
            Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb", text))
        }
    }
}

async fn put_blob(
    state: &State,
    at: At<'_>,
    parts: &request::Parts,
    body: Incoming,
) -> Result<Reply, Refusal> {
    let checked = check_put(state, at, parts, &body);
    let fresh = match checked {
        Ok(fresh) => fresh,
        Err(refusal) => {
            web::drain(body, limits::DRAIN).await;
            return Err(refusal);
        }
    };
    let upload = state.blobs.upload();
    receive(body, &upload.0, limits::BLOB_BODY).await?;
    commit(state, &upload, at, fresh)
}

/// The headers of Put Blob; true when the blob must not exist yet.
fn check_put(state: &State, at: At<'_>, parts: &request::Parts, body: &Incoming) -> Result<bool, Refusal> {
    match web::header(&parts.headers, "x-ms-blob-type") {
        "BlockBlob" => {}
        "" => {
            let text = "An HTTP header that's mandatory for this request is not specified: x-ms-blob-type.";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "MissingRequiredHeader", text));
        }
        other => {
            let text =
                format!("The value for one of the HTTP headers is not in the correct format: {other}.");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "InvalidHeaderValue", text));
        }
    }
    check_length(body, limits::BLOB_BODY)?;
    let fresh = web::header(&parts.headers, "if-none-match") == "*";
    if fresh && state.blobs.blob(at).exists() {
        return Err(already_exists());
    }
    Ok(fresh)
}

fn already_exists() -> Refusal {
    Refusal::new(StatusCode::CONFLICT, "BlobAlreadyExists", "The specified blob already exists.")
}

/// Azure takes uploads of a known length only.
fn check_length(body: &Incoming, limit: u64) -> Result<(), Refusal> {
    match body.size_hint().exact() {
        None => {
            let text = "You must provide the Content-Length HTTP header.";
            Err(Refusal::new(StatusCode::LENGTH_REQUIRED, "MissingContentLengthHeader", text))
        }
        Some(length) if length > limit => Err(too_large()),
        Some(_) => Ok(()),
    }
}

fn too_large() -> Refusal {
    let text = "The request body is too large and exceeds the maximum permissible limit.";
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge", text)
}

/// Writes a body to a file as it arrives and syncs it.
async fn receive(mut body: Incoming, path: &Path, limit: u64) -> Result<(), Refusal> {
    let internal = |error: io::Error| Refusal::internal(&error);
    let mut file = tokio::fs::File::create(path).await.map_err(internal)?;
    let mut length = 0;
    let broken = |error: io::Error| {
        let text = format!("The request body broke off: {error}");
        Refusal::new(StatusCode::BAD_REQUEST, "InvalidInput", text)
    };
    while let Some(frame) = web::frame(&mut body).await.map_err(broken)? {
        let Some(data) = frame.data_ref() else { continue };
        length += data.len() as u64;
        if length > limit {
            return Err(too_large());
        }
        file.write_all(data).await.map_err(internal)?;
    }
    file.flush().await.map_err(internal)?;
    file.sync_all().await.map_err(internal)
}

fn commit(state: &State, upload: &Upload, at: At<'_>, fresh: bool) -> Result<Reply, Refusal> {
    match state.blobs.commit(upload, at, fresh) {
        Ok(true) => created(&state.blobs.blob(at)),
        Ok(false) => Err(already_exists()),
        Err(error) => Err(Refusal::internal(&error)),
    }
}

fn created(path: &Path) -> Result<Reply, Refusal> {
    let metadata = fs::metadata(path).map_err(|error| Refusal::internal(&error))?;
    let mut reply = web::empty(StatusCode::CREATED);
    describe(&mut reply, &metadata);
    web::set(&mut reply, "x-ms-request-server-encrypted", "false");
    Ok(reply)
}

/// `ETag` and `Last-Modified`.
fn describe(reply: &mut Reply, metadata: &fs::Metadata) {
    let modified = metadata.modified().map_or_else(|_| stamp::now(), OffsetDateTime::from);
    web::set(reply, "etag", &format!("\"0x{:X}\"", modified.unix_timestamp_nanos()));
    web::set(reply, "last-modified", &stamp::http(modified));
}

async fn put_block(state: &State, at: At<'_>, query: &Params, body: Incoming) -> Result<Reply, Refusal> {
    let checked = check_length(&body, limits::BLOCK_BODY).and_then(|()| {
        let id = block_id(query.get("blockid").unwrap_or_default())?;
        prepare_block(state, at, &id)
    });
    let path = match checked {
        Ok(path) => path,
        Err(refusal) => {
            web::drain(body, limits::DRAIN).await;
            return Err(refusal);
        }
    };
    let upload = state.blobs.upload();
    receive(body, &upload.0, limits::BLOCK_BODY).await?;
    fs::rename(&upload.0, &path).map_err(|error| Refusal::internal(&error))?;
    let mut reply = web::empty(StatusCode::CREATED);
    web::set(&mut reply, "x-ms-request-server-encrypted", "false");
    Ok(reply)
}

/// A block id as the name of a file: the hexadecimal digits of its bytes.
fn block_id(text: &str) -> Result<String, Refusal> {
    let bytes = STANDARD.decode(text).ok().filter(|bytes| (1..=BLOCK_ID_BYTES).contains(&bytes.len()));
    let bytes = bytes.ok_or_else(|| {
        let text = "Value for one of the query parameters specified in the request URI is invalid: blockid.";
        Refusal::new(StatusCode::BAD_REQUEST, "InvalidQueryParameterValue", text)
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Makes the folder for a blob's blocks. All ids of one blob have the same length, as Azure demands.
fn prepare_block(state: &State, at: At<'_>, id: &str) -> Result<PathBuf, Refusal> {
    let internal = |error: io::Error| Refusal::internal(&error);
    let dir = state.blobs.blocks(at);
    files::make_dir(&dir).map_err(internal)?;
    let mut blocks = 0;
    for entry in dir.read_dir().map_err(internal)? {
        let other = entry.map_err(internal)?.file_name();
        if other.len() != id.len() {
            let text = "The specified blob or block content is invalid: block ids differ in length.";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "InvalidBlobOrBlock", text));
        }
        blocks += usize::from(other != id);
    }
    if blocks >= limits::BLOCKS {
        let text = "The uncommitted block count cannot exceed the maximum limit of 50,000 blocks.";
        return Err(Refusal::new(StatusCode::CONFLICT, "BlockCountExceedsLimit", text));
    }
    Ok(dir.join(id))
}

async fn put_block_list(
    state: &Arc<State>,
    at: At<'_>,
    parts: &request::Parts,
    body: Incoming,
) -> Result<Reply, Refusal> {
    let bytes = web::read(body, limits::BLOCK_LIST_BODY).await.map_err(|unread| match unread {
        Unread::TooLarge => too_large(),
        Unread::Broken => {
            Refusal::new(StatusCode::BAD_REQUEST, "InvalidInput", "The request body broke off.")
        }
    })?;
    let dir = state.blobs.blocks(at);
    let blocks = block_list(&bytes)?.into_iter().map(|id| dir.join(id)).collect();
    let upload = state.blobs.upload();
    let target = upload.0.clone();
    // Copying gigabytes would hold up the one thread which serves the clients.
    let joined = tokio::task::spawn_blocking(move || join(blocks, &target)).await;
    joined.map_err(|error| Refusal::internal(&io::Error::other(error)))??;
    commit(state, &upload, at, web::header(&parts.headers, "if-none-match") == "*")
}

/// The ids in a block list, in their order. `Committed` needs blocks this server no longer tells apart.
fn block_list(xml: &[u8]) -> Result<Vec<String>, Refusal> {
    let invalid = |text: &str| Refusal::new(StatusCode::BAD_REQUEST, "InvalidXmlDocument", text);
    let xml = std::str::from_utf8(xml).map_err(|_| invalid("The block list is not UTF-8."))?;
    let list = super::element(xml, "BlockList").ok_or_else(|| invalid("There is no BlockList."))?;
    let mut ids = Vec::new();
    let mut rest = list.trim_start();
    while !rest.is_empty() {
        let (tag, behind) = ["Latest", "Uncommitted"]
            .into_iter()
            .find_map(|tag| Some((tag, rest.strip_prefix('<')?.strip_prefix(tag)?.strip_prefix('>')?)))
            .ok_or_else(|| invalid("Only Latest and Uncommitted blocks are supported."))?;
        let (id, behind) =
            behind.split_once(&format!("</{tag}>")).ok_or_else(|| invalid("A tag is not closed."))?;
        ids.push(block_id(unescape(id).trim())?);
        rest = behind.trim_start();
    }
    if ids.len() > limits::BLOCKS {
        let text = "The block list has more than 50,000 blocks.";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "BlockListTooLong", text));
    }
    Ok(ids)
}

fn join(blocks: Vec<PathBuf>, target: &Path) -> Result<(), Refusal> {
    let internal = |error: io::Error| Refusal::internal(&error);
    let mut file = File::create(target).map_err(internal)?;
    for block in blocks {
        let mut input = File::open(&block).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let text = "The specified block list is invalid: it names a block that was not put.";
                Refusal::new(StatusCode::BAD_REQUEST, "InvalidBlockList", text)
            }
            _ => internal(error),
        })?;
        io::copy(&mut input, &mut file).map_err(internal)?;
    }
    file.sync_all().map_err(internal)
}

/// Get Blob, or its properties only.
async fn get(state: &State, at: At<'_>, with_body: bool) -> Result<Reply, Refusal> {
    let internal = |error: io::Error| Refusal::internal(&error);
    let Some(file) = state.blobs.read(at).map_err(internal)? else { return Err(not_found()) };
    let metadata = file.metadata().map_err(internal)?;
    let piece = vec![0; CHUNK].into_boxed_slice();
    let body = FileBody { file: tokio::fs::File::from_std(file), piece }.boxed();
    let body = if with_body { body } else { web::full(Bytes::new()) };
    let mut reply = Response::new(body);
    reply.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(metadata.len()));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    web::set(&mut reply, "x-ms-blob-type", "BlockBlob");
    describe(&mut reply, &metadata);
    Ok(reply)
}

/// A file as a body, read piece by piece as the client takes it.
struct FileBody {
    file: tokio::fs::File,
    piece: Box<[u8]>,
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        let mut piece = ReadBuf::new(&mut this.piece);
        ready!(Pin::new(&mut this.file).poll_read(context, &mut piece))?;
        let filled = piece.filled();
        Poll::Ready((!filled.is_empty()).then(|| Ok(Frame::data(Bytes::copy_from_slice(filled)))))
    }
}

fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "BlobNotFound", "The specified blob does not exist.")
}

fn delete(state: &State, at: At<'_>) -> Result<Reply, Refusal> {
    if !state.blobs.blob(at).exists() {
        return Err(not_found());
    }
    state.blobs.delete(at).map_err(|error| Refusal::internal(&error))?;
    let mut reply = web::empty(StatusCode::ACCEPTED);
    web::set(&mut reply, "x-ms-delete-type-permanent", "true");
    Ok(reply)
}
