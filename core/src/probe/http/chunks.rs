//! The chunked coding taken apart as it arrives, in constant space.
//!
//! Extensions and trailers are skipped, not understood. Not `httparse::parse_chunk_size`: that one
//! takes an empty size for 0, refuses a bare line feed, and wants the line in one piece.

use crate::outcome::Outcome;

/// What [`Chunks::next_piece`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A chunk of this many bytes begins; 0 is the last one.
    Size(u64),
    /// Some bytes of the body, at least one.
    Data(&'a [u8]),
}

/// A chunked body being read.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    /// Bytes that one size line, or all trailers, may have.
    limit: usize,
    /// Bytes of the size line, of the line end after a chunk or of the trailers so far.
    framing: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The first digit of a size.
    FirstDigit,
    /// More digits, or what ends them.
    Digits(u64),
    /// Blanks after the digits.
    Blanks(u64),
    /// The rest of an extension.
    Extension(u64),
    /// The line feed of a size line.
    SizeLineFeed(u64),
    /// This many bytes of the chunk; 0 only until the size is handed out.
    Data(u64),
    /// The line end after a chunk's bytes.
    DataEnd,
    /// Its line feed.
    DataLineFeed,
    /// The first byte of a trailer, or the line end that is the end of all.
    TrailerStart,
    /// The rest of a trailer.
    Trailer,
    /// The last line feed.
    LastLineFeed,
    /// Nothing.
    Over,
}

impl Chunks {
    /// A reader that takes size lines of up to `limit` bytes and as many bytes of trailers.
    pub(super) fn new(limit: usize) -> Chunks {
        Chunks { state: State::FirstDigit, limit, framing: 0 }
    }

    /// Takes bytes from the front of `input` up to the end of the next piece. `None`: the coding
    /// is over, or `input` is used up.
    ///
    /// # Errors
    ///
    /// `MalformedHeader` for a wrong byte, `DoesNotFit` for a line beyond the limit.
    pub(super) fn next_piece<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<Piece<'a>>, Outcome> {
        while let Some((byte, rest)) = input.split_first() {
            match self.state {
                State::Over => break,
                State::Data(left) => return Ok(Some(Piece::Data(self.take_data(left, input)))),
                _ => *input = rest,
            }

            if let Some(size) = self.take_framing(*byte)? {
                return Ok(Some(Piece::Size(size)));
            }
        }

        Ok(None)
    }

    /// Whether the end of the coding has come.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    fn take_data<'a>(&mut self, left: u64, input: &mut &'a [u8]) -> &'a [u8] {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let (data, rest) = input.split_at(taken);
        *input = rest;

        self.state = match left.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX)) {
            0 => State::DataEnd,
            left => State::Data(left),
        };
        data
    }

    /// One byte that is not the body's; answers the size that it completes.
    fn take_framing(&mut self, byte: u8) -> Result<Option<u64>, Outcome> {
        self.framing = self.framing.saturating_add(1);
        self.state = self.state.after(byte).ok_or(Outcome::MalformedHeader)?;

        match self.state {
            State::Data(size) => {
                if size == 0 {
                    self.state = State::TrailerStart;
                }
                self.framing = 0;
                Ok(Some(size))
            }
            State::FirstDigit => {
                self.framing = 0;
                Ok(None)
            }
            State::Over => Ok(None),
            _ if self.framing >= self.limit => Err(Outcome::DoesNotFit),
            _ => Ok(None),
        }
    }
}

impl State {
    /// What comes after `byte`; `None` if it has no place here.
    fn after(self, byte: u8) -> Option<State> {
        Some(match (self, byte) {
            (State::FirstDigit, _) => State::Digits(hex_digit(byte)?),
            (State::Digits(size), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                State::Digits(size.checked_mul(16)?.checked_add(hex_digit(byte)?)?)
            }
            (State::Digits(size) | State::Blanks(size), b' ' | b'\t') => State::Blanks(size),
            (State::Digits(size) | State::Blanks(size), b';') => State::Extension(size),
            (State::Digits(size) | State::Blanks(size), b'\r') => State::SizeLineFeed(size),
            (State::Digits(size) | State::Blanks(size), b'\n') => State::Data(size),
            (State::SizeLineFeed(size) | State::Extension(size), b'\n') => State::Data(size),
            (State::Extension(size), _) => State::Extension(size),
            (State::DataEnd, b'\r') => State::DataLineFeed,
            (State::DataEnd | State::DataLineFeed, b'\n') => State::FirstDigit,
            (State::TrailerStart, b'\r') => State::LastLineFeed,
            (State::TrailerStart | State::LastLineFeed, b'\n') => State::Over,
            (State::Trailer, b'\n') => State::TrailerStart,
            (State::TrailerStart | State::Trailer, _) => State::Trailer,
            (State::Digits(_) | State::Blanks(_) | State::SizeLineFeed(_), _)
            | (State::DataEnd | State::DataLineFeed | State::LastLineFeed, _)
            | (State::Data(_) | State::Over, _) => return None,
        })
    }
}

fn hex_digit(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}
