//! An `upstream` block: its server lines, and its peers as nginx's own balancers keep them.

use core::ptr::NonNull;

use nginx_sys::{
    ngx_addr_t, ngx_http_upstream_rr_peer_t, ngx_http_upstream_rr_peers_t,
    ngx_http_upstream_server_t, ngx_http_upstream_srv_conf_t, ngx_uint_t,
};

use super::address::{raw_address, Address};
use super::conf::{record, text};
use super::peers::{Member, PeersCopy, PeersLock};

/// One `server` line.
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

    /// Whether it says `backup`.
    fn is_backup(&self) -> bool {
        self.0.backup() != 0
    }

    /// The peers it names, one an address.
    fn members(&self, line: usize) -> Vec<Member> {
        if self.is_resolved_at_run_time() || self.0.addrs.is_null() {
            return Vec::new();
        }
        // SAFETY: nginx fills `naddrs` addresses when it reads the line.
        let addresses = unsafe { core::slice::from_raw_parts(self.0.addrs, self.0.naddrs) };
        let member = |address: &ngx_addr_t| {
            Some(Member {
                // SAFETY: configuration memory, as above.
                address: unsafe { Address::copy(address.sockaddr, address.socklen) }?,
                // SAFETY: likewise.
                name: unsafe { text(&address.name) }.into(),
                server: self.name().into(),
                line: u32::try_from(line).ok(),
                weight: u32::try_from(self.0.weight).unwrap_or(u32::MAX),
                backup: self.is_backup(),
                down: self.0.down != 0,
            })
        };
        addresses.iter().filter_map(member).collect()
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
    fn lines(&self) -> impl Iterator<Item = (usize, ServerLine<'_>)> {
        // SAFETY: nginx's array of server lines, or NULL for a variable `proxy_pass` target.
        let lines: &[ngx_http_upstream_server_t] =
            unsafe { self.raw().servers.as_ref().map_or(&[], |array| array.as_slice()) };
        lines.iter().map(ServerLine).enumerate()
    }

    /// How many server lines are resolved at run time.
    pub(crate) fn resolved_lines(self) -> usize {
        self.lines().filter(|(_, line)| line.is_resolved_at_run_time()).count()
    }

    /// The peers that the configuration itself names, in the order of nginx's lists: primaries,
    /// then backups.
    pub(crate) fn configured_members(self) -> Vec<Member> {
        let of = |backup| {
            self.lines()
                .filter(move |(_, line)| line.is_backup() == backup)
                .flat_map(|(number, line)| line.members(number))
        };
        of(false).chain(of(true)).collect()
    }

    /// All peers: the configured ones, or, where lines are resolved at run time, what nginx's
    /// lists hold now. `own_bits` of `peer->down` are ours and do not count as configured.
    pub(crate) fn members(self, own_bits: ngx_uint_t) -> Vec<Member> {
        if self.resolved_lines() == 0 {
            return self.configured_members();
        }
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

    /// Sets or clears `bit` in `peer->down` of every peer for which `wanted(position, address)`
    /// says so, keeping `peers->tries` (the number of peers that are not down) in step. `wanted` is
    /// asked under the write lock and must not allocate, log or panic.
    ///
    /// nginx does not free this lock when its holder is killed, so it is taken only for a change,
    /// and only for as long as the change takes: a list without peers that are resolved at run time
    /// keeps its peers as long as it lives, and is looked through without the lock.
    pub(crate) fn mark(self, bit: ngx_uint_t, wanted: impl Fn(usize, &[u8]) -> Option<bool>) {
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
                    let differs = |down: ngx_uint_t| {
                        wanted(position, address).is_some_and(|sick| sick != (down & bit != 0))
                    };
                    if differs((&raw const (*peer).down).read_volatile()) {
                        let held = lock.take().unwrap_or_else(|| PeersLock::write(peers));
                        // Asked again, now that no other process can change its mind.
                        if differs((*peer).down) {
                            flip(list, peer, bit);
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

/// Turns `bit` of `peer->down` over, and keeps the list's count of peers that are not down.
///
/// # Safety
/// Both are live, and the write lock of their lists is held.
unsafe fn flip(
    list: *mut ngx_http_upstream_rr_peers_t,
    peer: *mut ngx_http_upstream_rr_peer_t,
    bit: ngx_uint_t,
) {
    // SAFETY: passed on.
    let (list, peer) = unsafe { (&mut *list, &mut *peer) };
    let was = peer.down;
    peer.down = was ^ bit;
    if was == 0 {
        list.tries = list.tries.saturating_sub(1);
    } else if peer.down == 0 {
        list.tries = list.tries.wrapping_add(1);
    }
}
