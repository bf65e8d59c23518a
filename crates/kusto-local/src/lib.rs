//! A local Azure Data Explorer (Kusto) ingestion endpoint.
//!
//! `kusto-local` is everything a queued ingestion client talks to, on one port of one machine: the token
//! endpoint, the data-management endpoint, blob and queue storage, and an engine which reads the blobs into
//! tables and answers simple queries. It exists so that an agent's whole way to Kusto can be run and tested
//! without an Azure account. It is strict where Azure is, writes down what a client does wrong, and fails
//! on command.
//!
//! ```text
//! kusto-local --dir state --listen 4443
//! ```
//!
//! prints what a client needs (`ingestion_endpoint=`, `ca_file=`, `client_secret=`, ...) and then `ready`;
//! the same lines are in `state/endpoint.env`. The life of one batch, in the order of the modules:
//!
//! 1. `token`: the client logs in with its secret and gets an access token.
//! 2. `mgmt`: with that it asks for containers, queues (URLs signed by `sas`) and an identity token.
//! 3. `storage/blob`: it uploads a blob of records, gzipped when the name ends in `.gz`.
//! 4. `storage/queue`: it posts a message which names the blob, the database and the table.
//! 5. `engine/ingest`: the worker takes the message, checks all of it, reads the blob and commits its rows.
//! 6. `engine/record`: what happened is in `GET /local/ingestions`, with `complaints` about the client.
//! 7. `query`: `Logs | where tag == "app" | count` reads the rows back.
//!
//! `engine/stream` takes rows without blob and message. `azurite` puts Microsoft's storage emulator in the place of
//! `storage`. `faults` makes the next requests fail as a test says. `page` shows all of it in a browser.
//!
//! What Azure does and this server does not: other formats than `json`, `multijson` and `csv`, update policies,
//! streaming from a blob, more than one database, and the query language beyond what `query` lists.
//!
//! In a test, run it in the process:
//!
//! ```no_run
//! use kusto_local::{Options, Server};
//!
//! # fn main() -> std::io::Result<()> {
//! let server = Server::start(Options::new("state"))?;
//! println!("{}", server.endpoint());
//! assert_eq!(server.rows("Logs"), Some(0));
//! server.shutdown();
//! # Ok(())
//! # }
//! ```

mod azurite;
mod cut;
mod engine;
mod faults;
mod files;
mod http;
mod limits;
mod mgmt;
mod oneapi;
mod options;
mod page;
mod query;
mod route;
mod sas;
mod secrets;
mod server;
mod stamp;
mod state;
mod storage;
mod tls;
mod token;

pub use options::{Endpoint, Metadata, Options};
pub use server::Server;
