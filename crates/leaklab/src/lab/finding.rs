//! What a verdict may come from, and where to look in the source.

use super::judge::{Factor, Judgement, Verdict};

/// A finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// What it is called.
    pub title: &'static str,
    /// The pattern as it was found in a telemetry agent before.
    pub pattern: &'static str,
    /// What to look at.
    pub look_at: &'static [&'static str],
}

const BUFFERS: Finding = Finding {
    title: "Buffers: a connection keeps the largest size its buffer ever had",
    pattern: "The receive buffer of a connection grows to the largest request and only its length is reset behind \
              it; with many connections that are kept alive, each pins its own peak until it closes.",
    look_at: &[
        "where the length of the receive buffer is set to 0 behind a request: shrink it there when its capacity is far above the usual",
        "decompression and parser state that is kept per connection",
        "buffers that a library keeps (TLS records, the read buffer of the HTTP library) and their options",
        "a limit on connections, and a time after which idle ones are closed",
    ],
};
const KEEP_ALIVE: Finding = Finding {
    title: "Keep-alive: what belongs to a connection outlives it",
    pattern: "Each connection leaves something behind when it closes: its context, a timer, an entry in a list of \
              sessions. Memory grows with the number of connections that ever were.",
    look_at: &[
        "every early return between accept and close: which of them skips the release of the connection's context",
        "lists and maps of connections or peers: what removes an entry when the peer closes first",
        "timers and callbacks that hold a reference to the connection",
        "threads that are neither joined nor detached: their stacks stay",
    ],
};
const ENCODER: Finding = Finding {
    title: "Encoder: something is kept for each request",
    pattern: "A buffer, an encoder or a request object is reset in the usual path but not released in every one; \
              growth is the same for each request, whatever its size.",
    look_at: &[
        "encoders and request objects that live longer than a request: what they add up, and when they are destroyed",
        "the paths of errors and of empty requests",
        "queues of finished requests (for metrics, logs, retries) that nobody empties",
        "one trace: `leaklab trace --with heaptrack` names the stack",
    ],
};
const ZONE: Finding = Finding {
    title: "Parser zone: a part of every payload is kept",
    pattern: "A zone or arena of a parser grows with the size of what is parsed and is not released whole; growth \
              is a share of the bytes that came in, whatever the number of requests.",
    look_at: &[
        "zones, arenas and pools that a parser allocates from: what destroys them, and in which paths it does not",
        "slices of a body that are kept: each may hold the whole body",
        "copies of output: a buffer that is duplicated before compression or upload and released only on one path",
        "chunks that wait for a destination: are they bounded",
    ],
};
const COPIES: Finding = Finding {
    title: "Output copies: memory follows the largest payload there ever was",
    pattern: "A buffer that is used again and again keeps the size of the largest payload: of the whole chunk as \
              text, of the body before compression, of an upload. It does not grow further, but it never falls.",
    look_at: &[
        "buffers that live as long as the process: clear() is not release",
        "pools: how many buffers they keep, and of which size",
        "whether the whole can be made in fixed blocks instead of one string",
        "a limit on the size of a request",
    ],
};
const CROWD: Finding = Finding {
    title: "Buffers: memory follows the most connections there ever were",
    pattern: "A pool or table keeps what the most connections needed at a time; it is used again but never released.",
    look_at: &[
        "pools of connections, threads and buffers: what shrinks them",
        "tables that double and never halve",
    ],
};
const ALLOCATOR: Finding = Finding {
    title: "Allocator: what was freed is not given back",
    pattern: "The program frees its memory; the allocator keeps the pages, because a small living block lies above \
              them or because it is told to keep them.",
    look_at: &[
        "glibc: MALLOC_ARENA_MAX, MALLOC_TRIM_THRESHOLD_, malloc_trim behind a peak",
        "jemalloc: dirty_decay_ms, muzzy_decay_ms, background_thread, thp:never, narenas",
        "long-lived small blocks that are allocated between short-lived large ones",
    ],
};
const CARDINALITY: Finding = Finding {
    title: "Cardinality: something is kept for each new key",
    pattern: "A map or a metric has an entry for each tag, label, path, user or peer that was ever seen, and \
              nothing removes them.",
    look_at: &[
        "metrics with labels that a client can choose (path, tag, host, peer address with its port)",
        "caches without a bound, and per-key buffers",
        "interned strings and schemas",
    ],
};
const TIMER: Finding = Finding {
    title: "Time: it grows without any load",
    pattern: "A timer, a scrape, a poll or a log line adds to something each time it runs.",
    look_at: &[
        "what runs on a timer: health checks, metrics, reconnecting, watching files",
        "histories and buffers of logs without a bound",
        "`leaklab trace --with heaptrack` without load names the stack",
    ],
};
const STREAMS: Finding = Finding {
    title: "HTTP/2 streams: a closed stream stays on its connection",
    pattern: "Each request over HTTP/2 makes a stream; what belongs to it is released when the connection closes and \
              not when the stream ends. Connections of HTTP/2 live long, so it adds up.",
    look_at: &[
        "the callback that the HTTP/2 library makes when a stream closes: does it release what the request made",
        "header lists and bodies that are attached to the stream",
        "lists of streams on the session: when an entry is removed",
    ],
};

/// What a growth may come from.
pub fn of(verdict: Verdict, factor: Factor, protocol: Option<&str>) -> Option<Finding> {
    Some(match (verdict, factor) {
        (Verdict::Leak, Factor::Requests) if protocol.is_some() => STREAMS,
        (Verdict::Leak, Factor::Requests) => ENCODER,
        (Verdict::Leak, Factor::PayloadBytes) => ZONE,
        (Verdict::Leak, Factor::ConnectionsOpened) => KEEP_ALIVE,
        (Verdict::Leak, Factor::Time) => TIMER,
        (Verdict::PerConnection, _) => BUFFERS,
        (Verdict::HighWater, Factor::ConnectionsHeld) => CROWD,
        (Verdict::HighWater, _) => COPIES,
        (Verdict::Retention, _) => ALLOCATOR,
        (Verdict::Cardinality, _) => CARDINALITY,
        _ => return None,
    })
}

/// The findings for everything that grows, each once.
pub fn all(judgement: &Judgement) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for growth in &judgement.growing {
        let finding = of(growth.verdict, growth.factor, growth.protocol.as_deref());
        if let Some(finding) = finding.filter(|finding| !found.contains(finding)) {
            found.push(finding);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_grows_has_a_finding() {
        let factors = [Factor::Requests, Factor::PayloadBytes, Factor::ConnectionsOpened, Factor::Time];
        assert!(factors.iter().all(|factor| of(Verdict::Leak, *factor, None).is_some()));
        for verdict in [Verdict::PerConnection, Verdict::HighWater, Verdict::Retention, Verdict::Cardinality]
        {
            assert!(of(verdict, Factor::PayloadBytes, None).is_some());
        }
        assert_eq!(of(Verdict::Clean, Factor::None, None), None);
    }
}
