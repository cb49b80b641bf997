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
    /// The program of its server line; `None` where no `supervisord` manages the upstream.
    pub program: Option<ProgramReport<'a>>,
}

/// One program: what the module makes of it, what supervisord says, and what it was last told.
/// All peers of one server line share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramReport<'a> {
    /// Position of the server line in its upstream, from 0.
    pub number: u32,
    /// What supervisord calls it; empty with `supervisord none`.
    pub name: Cow<'a, [u8]>,
    /// `down`, `starting`, `up` or `stopping`.
    pub state: &'static str,
    /// supervisord's name for the state it last reported, such as `RUNNING`; `None` before the
    /// first report, and with `supervisord none`.
    pub reported_state: Option<&'static str>,
    /// The process that it reported; 0 = none.
    pub reported_pid: u32,
    /// Whether the configuration marks the server line `down` and nobody has started it by URL since.
    pub admin_down: bool,
    /// The last command, `start` or `stop`; `None` before the first.
    pub last_command: Option<&'static str>,
    /// When it was accepted, in milliseconds since 1970; 0 = never.
    pub last_command_ms: u64,
    /// How it ended, such as `ok` or `fault 50 SPAWN_ERROR`; `None` before the first.
    pub last_result: Option<Cow<'a, str>>,
    /// Requests that it is serving, on the whole machine.
    pub running: u64,
}

/// One upstream, as far as holding requests and load go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamReport<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Requests held at this moment, on the whole machine.
    pub held: u64,
    /// How many requests one worker may hold; `None` = no queue.
    pub queue: Option<u32>,
    /// Hundredths of requests per second for each active program over the last interval; `None`
    /// before the end of the first, and where no load is measured.
    pub load: Option<u64>,
    /// Requests since the zone was made.
    pub requests: u64,
    /// Whether its programs are managed, by a supervisord or with `supervisord none`.
    pub managed: bool,
}

impl UpstreamReport<'_> {
    /// Whether it has anything to show but its name.
    pub fn is_notable(&self) -> bool {
        self.managed || self.queue.is_some()
    }
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
    /// Every upstream, in the order of the configuration.
    pub upstreams: &'a [UpstreamReport<'a>],
}
