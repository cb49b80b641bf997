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
        let mut hasher = SipHasher13::new();
        hasher.write(kind);
        hasher.write(&first.len().to_le_bytes());
        hasher.write(first);
        hasher.write(second);
        let hash = hasher.finish128();
        Key(hash.h1.max(Key::FIRST), hash.h2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_and_address_are_kept_apart() {
        assert_ne!(Key::of_peer(b"ab", b"c"), Key::of_peer(b"a", b"bc"));
        assert_ne!(Key::of_peer(b"a", b""), Key::of_upstream(b"a"));
        assert_eq!(Key::of_peer(b"a", b"b"), Key::of_peer(b"a", b"b"));
    }
}
