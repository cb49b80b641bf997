//! What balancers with peer lists of their own say of their upstreams: while the configuration is read,
//! and of single peers while nginx runs.

use core::cell::{Cell, OnceCell, RefCell};
use core::sync::atomic::{AtomicUsize, Ordering};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::MainConf;
use crate::nginx::address::Address;
use crate::nginx::peers::Member;
use crate::nginx::process::{now, ProcessLocal};
use crate::nginx::upstream::Upstream;

/// Where the module's records are while a configuration is read: places in nginx's arrays.
#[derive(Clone, Copy)]
pub(crate) struct Places {
    /// The healthcheck module's.
    pub(crate) health: usize,
    /// The supervisord module's.
    pub(crate) programs: usize,
}

/// A configuration that is being read.
struct Reading {
    /// Its address; only compared.
    conf: usize,
    /// Where its records are.
    places: Places,
}

/// The configuration that is being read; nobody registers for another one.
static READING: ProcessLocal<Option<Reading>> = ProcessLocal::new(None);

/// The index of the next peer that is registered while a configuration is read; 0 = none yet. Never goes
/// back, so that an index of an older configuration is nobody else's.
static NEXT_INDEX: AtomicUsize = AtomicUsize::new(0);

/// How many indices a module may give out in a millisecond, so that one that is loaded anew by a reload
/// begins above those of the one before.
const INDICES_PER_MS: u32 = 1 << 16;

/// Bits of an index that count; those above are for peers that are found while nginx runs.
const INDEX_BITS: u32 = usize::BITS - 3;

/// A configuration begins to be read; `is_reload`: another one has run in this nginx.
pub(crate) fn begin(conf: &MainConf, places: Places, is_reload: bool) {
    if NEXT_INDEX.load(Ordering::Relaxed) == 0 {
        let first = if is_reload { now().wrapping_mul(u64::from(INDICES_PER_MS)) } else { 1 };
        let mask = (1_u64 << INDEX_BITS) - 1;
        let first = usize::try_from(first & mask).unwrap_or(1).max(1);
        NEXT_INDEX.store(first, Ordering::Relaxed);
    }
    conf.set_first_index(NEXT_INDEX.load(Ordering::Relaxed));
    let conf = core::ptr::from_ref(conf).addr();
    READING.with(|reading| *reading = Some(Reading { conf, places }));
}

/// A configuration was read, well or not: nobody registers for it any more.
pub(crate) fn end(conf: &MainConf) {
    let conf = core::ptr::from_ref(conf).addr();
    READING.with(|reading| {
        if reading.as_ref().is_some_and(|reading| reading.conf == conf) {
            *reading = None;
        }
    });
}

/// Where the records of the configuration that is being read are; `None` while none is.
pub(crate) fn reading() -> Option<Places> {
    READING.with(|reading| reading.as_ref().map(|reading| reading.places)).flatten()
}

/// The index that the next peer gets.
pub(crate) fn next_index() -> usize {
    NEXT_INDEX.load(Ordering::Relaxed)
}

/// Whether an index was given to a peer while some configuration was read.
pub(crate) fn was_given(index: usize) -> bool {
    (1..next_index()).contains(&index)
}

/// A peer that a balancer has registered.
struct RegisteredPeer {
    /// Where it is.
    address: Address,
    /// Its address as text.
    name: Box<[u8]>,
    /// Whether it was registered while the configuration was read, and so stays.
    stays: bool,
    /// How often it is registered at run time.
    uses: u32,
}

/// What a balancer has said of one upstream. Lives in the upstream's configuration.
#[derive(Default)]
pub(crate) struct Registration {
    /// The peers by index, which is also the order in which they were registered.
    peers: RefCell<BTreeMap<usize, RegisteredPeer>>,
    /// Their indices, by address.
    indices: RefCell<HashMap<Box<[u8]>, usize>>,
    /// What the server lines say of an address.
    lines: OnceCell<HashMap<Box<[u8]>, Member<'static>>>,
    /// Whether a peer was registered while the configuration was read.
    has_peers: Cell<bool>,
    /// Whether the balancer is told of the states of programs.
    is_monitored: Cell<bool>,
}

impl Registration {
    /// Registers a peer while the configuration is read. Returns its index.
    pub(crate) fn add(&self, address: Address, name: Box<[u8]>) -> usize {
        self.has_peers.set(true);
        if let Some(index) = self.index_of(&address) {
            return index;
        }
        let index = NEXT_INDEX.fetch_add(1, Ordering::Relaxed);
        self.push(index, RegisteredPeer { address, name, stays: true, uses: 0 });
        index
    }

    /// Registers a peer that is there already once more, at run time. Returns its index; `None` if it is
    /// not there.
    pub(crate) fn add_again(&self, address: &Address) -> Option<usize> {
        let index = self.index_of(address)?;
        let mut peers = self.peers.borrow_mut();
        let peer = peers.get_mut(&index)?;
        peer.uses = peer.uses.saturating_add(1);
        Some(index)
    }

    /// Registers a new peer under an index at run time.
    pub(crate) fn add_found(&self, index: usize, address: Address, name: Box<[u8]>) {
        self.push(index, RegisteredPeer { address, name, stays: false, uses: 1 });
    }

    /// Takes back one registration of a peer at run time; whether the peer is gone with it.
    pub(crate) fn forget(&self, index: usize) -> bool {
        let mut peers = self.peers.borrow_mut();
        let Some(peer) = peers.get_mut(&index) else { return false };
        peer.uses = peer.uses.saturating_sub(1);
        if peer.uses > 0 || peer.stays {
            return false;
        }
        self.indices.borrow_mut().remove(peer.address.canonical());
        peers.remove(&index);
        true
    }

    /// Notes that the balancer is told of the states of programs.
    pub(crate) fn set_monitored(&self) {
        self.is_monitored.set(true);
    }

    /// Whether the balancer asks the module for its peers.
    pub(crate) fn has_peers(&self) -> bool {
        self.has_peers.get()
    }

    /// Whether the balancer is told of the states of programs.
    pub(crate) fn is_monitored(&self) -> bool {
        self.is_monitored.get()
    }

    /// Whether a peer is registered under this index.
    pub(crate) fn has_index(&self, index: usize) -> bool {
        self.peers.borrow().contains_key(&index)
    }

    /// Calls `body` with the index and the address of each peer.
    pub(crate) fn each(&self, mut body: impl FnMut(usize, &Address)) {
        for (index, peer) in self.peers.borrow().iter() {
            body(*index, &peer.address);
        }
    }

    /// The registered peers as members of the upstream.
    pub(crate) fn members(&self, upstream: Upstream) -> Vec<Member<'static>> {
        self.peers.borrow().values().map(|peer| self.member(upstream, peer)).collect()
    }

    /// The peer with this index as a member of the upstream.
    pub(crate) fn member_of(&self, upstream: Upstream, index: usize) -> Option<Member<'static>> {
        self.peers.borrow().get(&index).map(|peer| self.member(upstream, peer))
    }

    /// A peer as a member of the upstream: with the settings of a server line that has its address, if
    /// there is one, and best one that is not marked `down`.
    fn member(&self, upstream: Upstream, peer: &RegisteredPeer) -> Member<'static> {
        let lines = self.lines.get_or_init(|| {
            let mut lines = HashMap::<Box<[u8]>, Member<'_>>::new();
            for member in upstream.configured_members() {
                let known = lines.get(member.address.canonical());
                if known.is_none_or(|known| known.down && !member.down) {
                    lines.insert(member.address.canonical().into(), member);
                }
            }
            lines
        });
        let (address, name) = (peer.address, Cow::Owned(peer.name.to_vec()));
        match lines.get(address.canonical()) {
            Some(line) => Member {
                address,
                name,
                server: line.server.clone(),
                line: line.line,
                weight: line.weight,
                backup: line.backup,
                down: line.down,
            },
            None => Member {
                address,
                server: name.clone(),
                name,
                line: None,
                weight: 1,
                backup: false,
                down: false,
            },
        }
    }

    /// The index of the peer at an address.
    fn index_of(&self, address: &Address) -> Option<usize> {
        self.indices.borrow().get(address.canonical()).copied()
    }

    /// Adds a peer.
    fn push(&self, index: usize, peer: RegisteredPeer) {
        self.indices.borrow_mut().insert(peer.address.canonical().into(), index);
        self.peers.borrow_mut().insert(index, peer);
    }
}
