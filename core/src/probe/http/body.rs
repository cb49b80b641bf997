//! The body of a response against the one that is expected, compared as it arrives.
//!
//! It keeps no bytes: what has matched so far is a count.

use crate::outcome::Outcome;
use crate::probe::Step;

use super::chunks::{Chunks, Piece};
use super::header::{Head, Length};

/// A body being compared.
#[derive(Debug)]
pub(super) struct Body {
    end: End,
    /// Bytes of the expected body that have come and were right.
    matched: usize,
}

/// How the end of the body is known.
#[derive(Debug)]
enum End {
    /// By its length, which is that of the expected body.
    Length,
    /// By its last chunk.
    Chunk(Chunks),
    /// By the end of the connection.
    Close,
}

impl Body {
    /// The body that follows `head`, if the method of the request lets it have one. `limit` bounds
    /// what the chunked coding may add, in bytes: each chunk's size line, and all trailers.
    ///
    /// # Errors
    ///
    /// `MalformedHeader` if Content-Length is no length; `BadBody` if it is a wrong one.
    pub(super) fn begin(
        head: &Head,
        has_body: bool,
        expected: &[u8],
        limit: usize,
    ) -> Result<Body, Outcome> {
        let announced = match head.length {
            Length::Malformed => return Err(Outcome::MalformedHeader),
            _ if !has_body => Some(0),
            _ if head.chunked => None,
            Length::Bytes(bytes) => Some(bytes),
            Length::Absent => None,
        };

        let end = match announced {
            Some(bytes) if usize::try_from(bytes) != Ok(expected.len()) => {
                return Err(Outcome::BadBody)
            }
            Some(_) => End::Length,
            None if head.chunked => End::Chunk(Chunks::new(limit)),
            None => End::Close,
        };

        Ok(Body { end, matched: 0 })
    }

    /// Compares the bytes that came next, none of them right after the header too.
    ///
    /// # Errors
    ///
    /// `BadBody` at the first byte that is wrong or too many; `MalformedHeader` or `DoesNotFit`
    /// if the chunked coding is wrong or too long.
    pub(super) fn take(&mut self, mut bytes: &[u8], expected: &[u8]) -> Result<Step, Outcome> {
        let is_complete = match &mut self.end {
            End::Length => {
                compare(&mut self.matched, bytes, expected)?;
                self.matched == expected.len()
            }
            End::Close => {
                compare(&mut self.matched, bytes, expected)?;
                false
            }
            End::Chunk(chunks) => {
                while let Some(piece) = chunks.next_piece(&mut bytes)? {
                    match piece {
                        Piece::Size(size) => judge_size(size, self.matched, expected)?,
                        Piece::Data(data) => compare(&mut self.matched, data, expected)?,
                    }
                }
                if !bytes.is_empty() {
                    return Err(Outcome::BadBody);
                }
                chunks.is_over()
            }
        };

        // Whatever the peer says before it closes is part of its answer.
        Ok(if is_complete { Step::Held(Outcome::Ok) } else { Step::NeedMore })
    }

    /// The verdict if the connection ends before the one that [`take`](Body::take) waits for.
    pub(super) fn at_close(&self, expected: &[u8]) -> Outcome {
        match self.end {
            End::Length | End::Chunk(_) => Outcome::EarlyClose,
            End::Close if self.matched < expected.len() => Outcome::BadBody,
            End::Close => Outcome::Ok,
        }
    }
}

fn compare(matched: &mut usize, bytes: &[u8], expected: &[u8]) -> Result<(), Outcome> {
    let end = matched.saturating_add(bytes.len());

    if expected.get(*matched..end) != Some(bytes) {
        return Err(Outcome::BadBody);
    }

    *matched = end;
    Ok(())
}

/// A chunk that promises more than is left, or the last one while something is left.
fn judge_size(size: u64, matched: usize, expected: &[u8]) -> Result<(), Outcome> {
    let left = expected.len().saturating_sub(matched);

    match usize::try_from(size) {
        Ok(0) if left > 0 => Err(Outcome::BadBody),
        Ok(size) if size <= left => Ok(()),
        _ => Err(Outcome::BadBody),
    }
}
