//! An `upstream` block: its server lines, and its peers as nginx's own balancers keep them.

use core::ptr::NonNull;
use std::borrow::Cow;

use healthcheck_core::Msec;
use nginx_sys::{
    ngx_addr_t, ngx_cached_time, ngx_http_upstream_rr_peer_t, ngx_http_upstream_rr_peers_t,
    ngx_http_upstream_server_t, ngx_http_upstream_srv_conf_t, ngx_uint_t, time_t,
};

use super::address::{raw_address, Address};
use super::conf::{record, text};
use super::peers::{Member, PeersCopy, PeersLock, DRAINING};

mod avoided;

/// No memory of a process is at a lower address: the first page is nobody's.
const LOWEST_ADDRESS: usize = 4096;

/// What is made of a peer of nginx's balancers.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    /// Bits of `peer->down`.
    pub(crate) bits: ngx_uint_t,
    /// Whether its failed requests are forgotten, so that nginx does not avoid it for
    /// `fail_timeout`.
    pub(crate) forgives: bool,
}

/// What a `server` line says.
pub(crate) struct LineSettings {
    /// Its text.
    pub(crate) name: Box<[u8]>,
    /// `down`.
    pub(crate) down: bool,
    /// Failures within `fail_timeout` that make nginx avoid a peer of it; 0 = never.
    pub(crate) max_fails: u32,
    /// See `max_fails`; ms.
    pub(crate) fail_timeout: Msec,
}

/// One `server` line.
#[derive(Clone, Copy)]
struct ServerLine<'a>(&'a ngx_http_upstream_server_t);

impl<'a> ServerLine<'a> {
    /// Whether nginx's resolver finds its peers while nginx runs.
    fn is_resolved_at_run_time(&self) -> bool {
        #[cfg(ngx_upstream_resolve)]
        {
            self.0.host.len != 0
        }
        #[cfg(not(ngx_upstream_resolve))]
        {
            false
        }
    }

    /// Its text.
    fn name(&self) -> &'a [u8] {
        // SAFETY: configuration memory, unchanged while the cycle lives.
        unsafe { text(&self.0.name) }
    }

    /// Whether it says `down`.
    fn is_marked_down(&self) -> bool {
        self.0.down & !DRAINING != 0
    }

    /// Whether it says `backup`.
    fn is_backup(&self) -> bool {
        self.0.backup() != 0
    }

    /// The peers it names, one an address.
    fn members(self, line: usize) -> impl Iterator<Item = Member<'a>> {
        let addresses: &[ngx_addr_t] = if self.is_resolved_at_run_time() || self.0.addrs.is_null() {
            &[]
        } else {
            // SAFETY: nginx fills `naddrs` addresses when it reads the line.
            unsafe { core::slice::from_raw_parts(self.0.addrs, self.0.naddrs) }
        };
        addresses.iter().filter_map(move |address| {
            Some(Member {
                // SAFETY: configuration memory, as above.
                address: unsafe { Address::copy(address.sockaddr, address.socklen) }?,
                // SAFETY: likewise.
                name: Cow::Borrowed(unsafe { text(&address.name) }),
                server: Cow::Borrowed(self.name()),
                line: u32::try_from(line).ok(),
                weight: u32::try_from(self.0.weight).unwrap_or(u32::MAX),
                backup: self.is_backup(),
                down: self.is_marked_down(),
            })
        })
    }
}

/// An `upstream` block, or nginx's implicit one of a `proxy_pass`. Valid while its cycle lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Upstream(NonNull<ngx_http_upstream_srv_conf_t>);

impl Upstream {
    /// # Safety
    /// `uscf` is a live upstream configuration; the result is not used after its cycle ended.
    pub(crate) unsafe fn new(uscf: *mut ngx_http_upstream_srv_conf_t) -> Option<Upstream> {
        NonNull::new(uscf).map(Upstream)
    }

    /// nginx's record.
    fn raw(&self) -> &ngx_http_upstream_srv_conf_t {
        // SAFETY: `new`'s caller vouches for it.
        unsafe { self.0.as_ref() }
    }

    /// nginx's record, to be changed at configuration time.
    pub(crate) fn as_ptr(self) -> *mut ngx_http_upstream_srv_conf_t {
        self.0.as_ptr()
    }

    /// The name of the block.
    pub(crate) fn name<'a>(self) -> &'a [u8] {
        // SAFETY: configuration memory of the same cycle.
        unsafe { text(&self.0.as_ref().host) }
    }

    /// The configuration that the module with this index keeps for the block; `None` for an
    /// implicit upstream.
    ///
    /// # Safety
    /// `T` is what that module's `create_srv_conf` made; it is not used after the cycle ended.
    pub(crate) unsafe fn srv_conf<'a, T>(self, index: ngx_uint_t) -> Option<&'a T> {
        // SAFETY: passed on; `srv_conf` is NULL for implicit upstreams.
        unsafe { record(self.raw().srv_conf, index) }
    }

    /// Whether the peers are those of nginx's own balancers, which mark their list with the
    /// upstream's name. To be asked at postconfiguration only: later the list is in shared memory.
    pub(crate) fn has_stock_balancer(self) -> bool {
        let Some(peers) = self.peers() else { return false };
        // A balancer may keep a number there. No memory has so low an address.
        if peers.addr().get() < LOWEST_ADDRESS || !peers.is_aligned() {
            return false;
        }
        // SAFETY: only the address in the first list's `name` is compared. A foreign balancer's
        // data is at least as large as the offset read, or NULL, in all known ones.
        let name = unsafe { (*peers.as_ptr()).name };
        core::ptr::eq(name, &raw const self.raw().host)
    }

    /// The first list of peers: nginx moves it to shared memory after the configuration was read.
    fn peers(self) -> Option<NonNull<ngx_http_upstream_rr_peers_t>> {
        NonNull::new(self.raw().peer.data.cast())
    }

    /// The server lines, with their positions.
    fn lines<'a>(self) -> impl Iterator<Item = (usize, ServerLine<'a>)> {
        // SAFETY: nginx's array of server lines, or NULL for a variable `proxy_pass` target;
        // configuration memory of the same cycle.
        let lines: &'a [ngx_http_upstream_server_t] =
            unsafe { (*self.0.as_ptr()).servers.as_ref().map_or(&[], |array| array.as_slice()) };
        lines.iter().map(ServerLine).enumerate()
    }

    /// What the server lines say, by position.
    pub(crate) fn line_settings(self) -> Vec<LineSettings> {
        let settings = |(_, line): (usize, ServerLine<'_>)| LineSettings {
            name: line.name().into(),
            down: line.is_marked_down(),
            max_fails: u32::try_from(line.0.max_fails).unwrap_or(u32::MAX),
            fail_timeout: Msec::try_from(line.0.fail_timeout).unwrap_or(0).saturating_mul(1_000),
        };
        self.lines().map(settings).collect()
    }

    /// Whether it is an `upstream` block, and not nginx's implicit one of a `proxy_pass`.
    pub(crate) fn is_block(self) -> bool {
        !self.raw().srv_conf.is_null()
    }

    /// How many server lines are resolved at run time.
    pub(crate) fn resolved_lines(self) -> usize {
        self.lines().filter(|(_, line)| line.is_resolved_at_run_time()).count()
    }

    /// The peers that the configuration itself names, in the order of nginx's lists: primaries,
    /// then backups.
    pub(crate) fn configured_members<'a>(self) -> impl Iterator<Item = Member<'a>> {
        let of = move |backup| {
            self.lines()
                .filter(move |(_, line)| line.is_backup() == backup)
                .flat_map(|(number, line)| line.members(number))
        };
        of(false).chain(of(true))
    }

    /// All peers: the configured ones, or, where lines are resolved at run time, what nginx's
    /// lists hold now. `own_bits` of `peer->down` are ours and do not count as configured.
    pub(crate) fn members<'a>(self, own_bits: ngx_uint_t) -> impl Iterator<Item = Member<'a>> {
        let is_fixed = self.resolved_lines() == 0;
        let configured = is_fixed.then(|| self.configured_members());
        let listed = (!is_fixed).then(|| self.listed_members(own_bits));
        configured.into_iter().flatten().chain(listed.into_iter().flatten())
    }

    /// What nginx's lists hold now.
    fn listed_members<'a>(self, own_bits: ngx_uint_t) -> Vec<Member<'a>> {
        // The list may grow between the two looks; what did not fit is met after the next change
        // of the list's version.
        let (mut peers, mut bytes) = (0, 0);
        self.walk(|peer, _| {
            peers += 1;
            bytes += peer.name.len + peer.server.len;
        });
        let mut copy = PeersCopy::with_room(peers + 8, bytes + 1024);
        self.walk(|peer, backup| copy.push(peer, backup));
        copy.members(own_bits, |server, backup| {
            let same = |line: &ServerLine<'_>| line.name() == server && line.is_backup() == backup;
            self.lines().find(|(_, line)| same(line)).and_then(|(at, _)| u32::try_from(at).ok())
        })
    }

    /// Whether there is a peer that nginx's balancers would pick for a request that has had none: all
    /// of them ask this of each peer. A peer that changes meanwhile is met by the next look.
    pub(crate) fn has_free_peer(self) -> bool {
        // SAFETY: nginx's cached clock, in whole seconds.
        let now = unsafe { ngx_cached_time.as_ref() }.map_or(0, |time| time.sec);
        // SAFETY: `each_peer` visits live peers.
        !self.each_peer(|_, peer| unsafe { !is_free(peer, now) })
    }

    /// Visits every peer as it stands, with its position in nginx's lists, until `visit` returns `false`;
    /// whether it never did. The peers are live during the visit; their words are plain numbers that
    /// another process may change meanwhile. `visit` must not allocate, log or panic.
    fn each_peer(
        self,
        mut visit: impl FnMut(usize, *mut ngx_http_upstream_rr_peer_t) -> bool,
    ) -> bool {
        let Some(peers) = self.peers() else { return true };
        // As in `mark`: a list without peers that are resolved at run time keeps its peers.
        let _lock = (self.resolved_lines() > 0).then(|| PeersLock::read(peers));
        let mut position = 0_usize;
        let mut list = peers.as_ptr();
        // SAFETY: lists and peers stay while this looks.
        unsafe {
            while !list.is_null() {
                let mut peer = (*list).peer;
                while !peer.is_null() {
                    if !visit(position, peer) {
                        return false;
                    }
                    position = position.wrapping_add(1);
                    peer = (*peer).next;
                }
                list = (*list).next;
            }
        }
        true
    }

    /// Visits every peer under the read lock: `visit` must not allocate, log or panic.
    fn walk(self, mut visit: impl FnMut(&ngx_http_upstream_rr_peer_t, bool)) {
        let Some(peers) = self.peers() else { return };
        let _lock = PeersLock::read(peers);
        let mut list = peers.as_ptr();
        let mut backup = false;
        // SAFETY: nginx changes the lists only under the write lock.
        unsafe {
            while let Some(peers) = list.as_ref() {
                let mut next = peers.peer;
                while let Some(peer) = next.as_ref() {
                    visit(peer, backup);
                    next = peer.next;
                }
                list = peers.next;
                backup = true;
            }
        }
    }

    /// Changes with every peer that nginx's resolver adds or removes; 0 where it never does.
    pub(crate) fn version(self) -> ngx_uint_t {
        #[cfg(ngx_upstream_resolve)]
        {
            // SAFETY: the counter lives in the zone as long as the peers; nginx reads it, as we
            // do, without the write lock, and a stale value is corrected by the next look.
            unsafe {
                self.peers().map_or(0, |peers| {
                    (*peers.as_ptr())
                        .config
                        .as_ref()
                        .map_or(0, |config| core::ptr::from_ref(config).read_volatile())
                })
            }
        }
        #[cfg(not(ngx_upstream_resolve))]
        {
            0
        }
    }

    /// Gives the bits `mask` of `peer->down` of every peer the value that `wanted(position, address)`
    /// has for it, if any, keeping `peers->tries` (the number of peers that are not down) in step.
    /// A peer that loses a bit of `pardon` loses its `max_fails` penalty too. `wanted` is asked under
    /// the write lock and must not allocate, log or panic.
    ///
    /// nginx does not free this lock when its holder is killed, so it is taken only for a change,
    /// and only for as long as the change takes: a list without peers that are resolved at run time
    /// keeps its peers as long as it lives, and is looked through without the lock.
    pub(crate) fn mark(
        self,
        mask: ngx_uint_t,
        pardon: ngx_uint_t,
        wanted: impl Fn(usize, &[u8]) -> Option<Mark>,
    ) {
        let Some(peers) = self.peers() else { return };
        let is_fixed = self.resolved_lines() == 0;
        let mut lock = if is_fixed { None } else { Some(PeersLock::write(peers)) };
        let mut position = 0_usize;
        let mut list = peers.as_ptr();
        // SAFETY: the lists are this process's own, or their peers stay (see above), or the write
        // lock is held. `down` is a word that a process which has no lock may read in between.
        unsafe {
            while !list.is_null() {
                let mut peer = (*list).peer;
                while !peer.is_null() {
                    let address = raw_address((*peer).sockaddr, (*peer).socklen);
                    let changed = |down: ngx_uint_t, fails: ngx_uint_t| {
                        let Mark { bits, forgives } = wanted(position, address)?;
                        let new = (down & !mask) | (bits & mask);
                        (new != down || (forgives && fails != 0)).then_some((new, forgives))
                    };
                    let (down, fails) = (&raw const (*peer).down, &raw const (*peer).fails);
                    if changed(down.read_volatile(), fails.read_volatile()).is_some() {
                        let held = lock.take().unwrap_or_else(|| PeersLock::write(peers));
                        // Asked again, now that no other process can change its mind.
                        if let Some((down, forgives)) = changed((*peer).down, (*peer).fails) {
                            if forgives {
                                (*peer).fails = 0;
                            }
                            set_down(list, peer, down, pardon);
                        }
                        lock = if is_fixed { None } else { Some(held) };
                    }
                    position = position.wrapping_add(1);
                    peer = (*peer).next;
                }
                list = (*list).next;
            }
        }
    }
}

/// Sets `peer->down`, and keeps the list's count of peers that are not down. One that loses a bit of
/// `pardon` loses its `max_fails` penalty too.
///
/// # Safety
/// Both are live, and the write lock of their lists is held.
unsafe fn set_down(
    list: *mut ngx_http_upstream_rr_peers_t,
    peer: *mut ngx_http_upstream_rr_peer_t,
    down: ngx_uint_t,
    pardon: ngx_uint_t,
) {
    // SAFETY: passed on.
    let (list, peer) = unsafe { (&mut *list, &mut *peer) };
    let was = core::mem::replace(&mut peer.down, down);
    if was == 0 && down != 0 {
        list.tries = list.tries.saturating_sub(1);
    } else if was != 0 && down == 0 {
        list.tries = list.tries.wrapping_add(1);
    }
    // Its failures were those of a sick peer: nginx would avoid it for another `fail_timeout`.
    if was & !down & pardon != 0 {
        peer.fails = 0;
    }
}

/// Whether nginx's balancers would pick a peer at `now`, in seconds.
///
/// # Safety
/// The peer is live.
unsafe fn is_free(peer: *mut ngx_http_upstream_rr_peer_t, now: time_t) -> bool {
    // SAFETY: passed on; other processes may write to the peer.
    unsafe {
        let fails = (&raw const (*peer).fails).read_volatile();
        let checked = (&raw const (*peer).checked).read_volatile();
        let has_failed = (*peer).max_fails != 0
            && fails >= (*peer).max_fails
            && now.wrapping_sub(checked) <= (*peer).fail_timeout;
        let is_full = (*peer).max_conns != 0
            && (&raw const (*peer).conns).read_volatile() >= (*peer).max_conns;
        (&raw const (*peer).down).read_volatile() & !DRAINING == 0 && !has_failed && !is_full
    }
}
