//! What a status page says: plain rows that every page format writes.
//!
//! It neither reads shared memory nor formats; whoever fills a row copies it out of the slot
//! first, so that a page is never half of one verdict and half of the next.

use std::borrow::Cow;

use crate::outcome::{Outcome, UNKNOWN_CODE, UNKNOWN_SENTENCE};

/// One peer. Texts are bytes from the configuration or the resolver: not always UTF-8, and
/// possibly hostile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerReport<'a> {
    /// Position on the page, from 0, over all upstreams.
    pub index: usize,
    /// The address as nginx writes it, such as `127.0.0.1:81` or `unix:/run/app.sock`.
    pub name: Cow<'a, [u8]>,
    /// The process that holds the lease; 0 = none.
    pub owner_pid: u32,
    /// When something last happened to its probes, in milliseconds since 1970; 0 = never.
    pub last_action_ms: u64,
    /// Equal verdicts in a row; 0 before the first.
    pub concurrent: u32,
    /// When that run started, in milliseconds since 1970.
    pub concurrent_since_ms: u64,
    /// Whether the last probe failed.
    pub last_down: bool,
    /// How the last probe ended; `None` before the first, and for peers that are not probed.
    pub outcome: Option<Outcome>,
    /// Whether health keeps it out of rotation.
    pub down: bool,
    /// The name of its upstream.
    pub upstream: &'a [u8],
    /// The address or name that its server line gives.
    pub server: Cow<'a, [u8]>,
    /// Position of that server line in its upstream, from 0; `None` where it is not known.
    pub line: Option<u32>,
    /// Configured weight, 1 or more.
    pub weight: u32,
    /// Whether it is a backup.
    pub backup: bool,
    /// Whether the configuration marks it `down`.
    pub admin_down: bool,
    /// Whether its upstream has checks.
    pub checked: bool,
    /// Milliseconds that the last finished probe took; `None` before the first.
    pub latency_ms: Option<u64>,
    /// Probes sent.
    pub probes: u64,
    /// Probes that failed.
    pub failures: u64,
    /// When it last went down or up, in milliseconds since 1970; `None` = never.
    pub last_change_ms: Option<u64>,
}

impl PeerReport<'_> {
    /// The last outcome's sentence, or [`UNKNOWN_SENTENCE`].
    pub fn sentence(&self) -> &'static str {
        self.outcome.map_or(UNKNOWN_SENTENCE, Outcome::sentence)
    }

    /// The last outcome's short code, or [`UNKNOWN_CODE`].
    pub fn code(&self) -> &'static str {
        self.outcome.map_or(UNKNOWN_CODE, Outcome::code)
    }
}

/// All that one page shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageReport<'a> {
    /// This module's version, such as `0.1.0`.
    pub module_version: &'a str,
    /// nginx's version, such as `1.28.3`.
    pub nginx_version: &'a str,
    /// The process that writes the page.
    pub pid: u32,
    /// When it does so, in milliseconds since 1970.
    pub generated_ms: u64,
    /// Every peer, in the order of their indices.
    pub peers: &'a [PeerReport<'a>],
}
