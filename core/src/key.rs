//! Keys of the tables in shared memory: who a record belongs to, whatever its place in a list.

use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// 128 bits that stand for an upstream, or for a peer of an upstream.
///
/// All processes of all configurations must compute the same key, so the hash is unkeyed. Two
/// different inputs share a key with a probability of 2^-128. The first half is never below
/// [`Key::FIRST`]: smaller values mark records without an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u64, pub u64);

impl Key {
    /// The smallest value of a key's first half.
    pub const FIRST: u64 = 2;

    /// The key of the upstream with this name.
    pub fn of_upstream(name: &[u8]) -> Key {
        Key::of_parts(b"u", name, &[])
    }

    /// The key of the peer with this address, in a canonical binary form, in the upstream with
    /// this name.
    pub fn of_peer(upstream: &[u8], address: &[u8]) -> Key {
        Key::of_parts(b"p", upstream, address)
    }

    /// The key of the program behind server line `number` of the upstream with this name.
    pub fn of_program(upstream: &[u8], number: usize) -> Key {
        Key::of_parts(b"s", upstream, &number.to_le_bytes())
    }

    /// The key of the supervisord at this address, as the configuration writes it.
    pub fn of_supervisord(address: &[u8]) -> Key {
        Key::of_parts(b"d", address, &[])
    }

    fn of_parts(kind: &[u8], first: &[u8], second: &[u8]) -> Key {
        Key::of_rest(begin(kind, first), second)
    }

    fn of_rest(mut hasher: SipHasher13, second: &[u8]) -> Key {
        hasher.write(second);
        let hash = hasher.finish128();
        Key(hash.h1.max(Key::FIRST), hash.h2)
    }
}

/// The keys of the peers of one upstream: half the work for each where there are many.
#[derive(Clone, Copy)]
pub struct PeerKeys(SipHasher13);

impl PeerKeys {
    /// Those of the peers of the upstream with this name.
    pub fn new(upstream: &[u8]) -> PeerKeys {
        PeerKeys(begin(b"p", upstream))
    }

    /// As [`Key::of_peer`].
    pub fn of(&self, address: &[u8]) -> Key {
        Key::of_rest(self.0, address)
    }
}

/// What a key's first two parts make of a hash.
fn begin(kind: &[u8], first: &[u8]) -> SipHasher13 {
    let mut hasher = SipHasher13::new();
    hasher.write(kind);
    hasher.write(&first.len().to_le_bytes());
    hasher.write(first);
    hasher
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_one_key_however_it_is_computed() {
        let addresses: [&[u8]; 4] = [b"", b"a", b"12345678", b"a longer address than that"];
        for (upstream, address) in [&b""[..], b"backend"].into_iter().zip(addresses) {
            assert_eq!(PeerKeys::new(upstream).of(address), Key::of_peer(upstream, address));
        }
    }

    #[test]
    fn upstream_and_address_are_kept_apart() {
        assert_ne!(Key::of_peer(b"ab", b"c"), Key::of_peer(b"a", b"bc"));
        assert_ne!(Key::of_peer(b"a", b""), Key::of_upstream(b"a"));
        assert_eq!(Key::of_peer(b"a", b"b"), Key::of_peer(b"a", b"b"));
    }
}
