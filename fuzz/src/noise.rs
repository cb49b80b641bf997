//! Numbers that look random and are the same for one seed, and bytes that are spoilt by them.

/// xorshift64*: enough chance for noise.
#[derive(Clone, Debug)]
pub(crate) struct Noise(u64);

impl Noise {
    /// That of a seed.
    pub(crate) fn new(seed: u64) -> Noise {
        // Zero would stay zero for ever, and small seeds begin alike.
        let mut noise = Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        noise.below(1);
        noise
    }

    /// That of an input, so that it is tried in the same way again.
    pub(crate) fn of(input: &[u8]) -> Noise {
        // FNV-1a.
        Noise::new(input.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        }))
    }

    /// A number below `limit`; 0 if that is 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;

        usize::try_from(high).expect("32 bits") % limit.max(1)
    }

    /// One of them.
    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// `input` in pieces of random lengths.
    pub(crate) fn pieces<'a>(&mut self, mut input: &'a [u8]) -> Vec<&'a [u8]> {
        let longest = 1 + self.below(input.len() + 1);
        let mut pieces = Vec::new();

        while !input.is_empty() {
            let (piece, rest) = input.split_at(input.len().min(1 + self.below(longest)));
            pieces.push(piece);
            input = rest;
        }
        pieces
    }

    /// Spoils `input` once, with some of `words`, or of another input.
    pub(crate) fn mutate(&mut self, input: &mut Vec<u8>, words: &[&[u8]], other: &[u8]) {
        let at = self.below(input.len() + 1);
        let end = input.len().min(at + self.below(20));

        match self.below(10) {
            0 if at < input.len() => input[at] = self.byte(),
            1 if at < input.len() => input[at] ^= 1 << self.below(8),
            2 => input.insert(at, self.byte()),
            3 | 4 if !words.is_empty() => drop(input.splice(at..at, self.pick(words).to_vec())),
            5 if !words.is_empty() => drop(input.splice(at..end, self.pick(words).to_vec())),
            6 => drop(input.drain(at..end)),
            7 => {
                let times = 1 + self.below(3);
                let copy = input[at..end].repeat(times);
                drop(input.splice(at..at, copy));
            }
            8 => input.truncate(at),
            _ => {
                input.truncate(at);
                input.extend(&other[self.below(other.len() + 1)..]);
            }
        }
    }

    fn byte(&mut self) -> u8 {
        const TELLING: &[u8] = b"\0\t\n\r \"&'+-/0189:;<=>?AFaf|\x7f\x80\xc3\xff";

        match self.below(2) {
            0 => u8::try_from(self.below(256)).expect("a byte"),
            _ => TELLING[self.below(TELLING.len())],
        }
    }
}
