//! The result as one document: what `--json` prints, and what the report shows.

use serde::{Deserialize, Serialize};

use super::capture::{Capture, Header};
use super::drive::Server;
use super::judge::{Judgement, Verdict};
use super::sentence::sentence;

/// The document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Document {
    /// Verdict, factor, slope, unit, interval, evidence, what grows, and every factor.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// The verdict in a sentence.
    pub sentence: String,
    /// What ran, and where the load went.
    pub header: Option<Header>,
    /// What the server is and can.
    pub server: Option<Server>,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Document {
    /// Of a capture and what was decided on it.
    pub fn new(capture: &Capture, judgement: Judgement, seconds: f64) -> Document {
        let sentence = sentence(&judgement);
        let (header, server) = (capture.header().cloned(), capture.server().cloned());
        Document { judgement, sentence, header, server, seconds }
    }

    /// 0 clean, 1 grows, 2 could not be measured.
    pub fn code(&self) -> u8 {
        match self.judgement.verdict {
            Verdict::Clean => 0,
            Verdict::Inconclusive => 2,
            _ => 1,
        }
    }
}
