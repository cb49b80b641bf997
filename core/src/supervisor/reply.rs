//! The HTTP response: where its header ends, and how much follows.
//!
//! httparse knows the syntax; here is what supervisord, which closes after each answer to
//! HTTP/1.0, may answer. The same bytes are judged the same however they arrive.

use httparse::{Response, Status};

use super::{CallError, Flaw};

/// What every response begins with.
const PREFIX: &[u8] = b"HTTP/1.";
/// Bytes that a header may have; supervisord's have some 200.
const MAX_HEAD: usize = 16 * 1024;
/// Header lines that a response may have.
const MAX_FIELDS: usize = 64;

/// A response as it arrives.
#[derive(Debug)]
pub(super) struct Reply {
    /// Never longer than `limit`.
    bytes: Vec<u8>,
    limit: usize,
    /// How many bytes have been searched for the end of the header.
    searched: usize,
    head: Option<Head>,
}

/// A complete header.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// Where the body begins.
    end: usize,
    /// What Content-Length says; without one, the body ends with the connection.
    length: Option<usize>,
}

impl Reply {
    /// A response of which nothing has arrived; it may have `limit` bytes, header included.
    pub(super) fn new(limit: usize) -> Reply {
        Reply { bytes: Vec::new(), limit, searched: 0, head: None }
    }

    /// Forgets what arrived.
    pub(super) fn restart(&mut self) {
        self.bytes.clear();
        self.searched = 0;
        self.head = None;
    }

    /// Takes bytes that arrived, and says whether the response is complete. What comes after a
    /// complete response is dropped.
    pub(super) fn take(&mut self, input: &[u8]) -> Result<bool, CallError> {
        // One byte too many is enough to know.
        let room = self.limit.saturating_add(1).saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(input.get(..room).unwrap_or(input));

        if self.head.is_none() {
            self.head = find_head(&self.bytes, self.searched)?;
            self.searched = self.bytes.len();
        }
        if let Some(Head { end, length: Some(length) }) = self.head {
            let total = end.saturating_add(length);
            if total > self.limit {
                return Err(CallError::TooLarge(self.limit));
            }
            self.bytes.truncate(total);
            return Ok(self.bytes.len() == total);
        }
        if self.bytes.len() > self.limit {
            return Err(CallError::TooLarge(self.limit));
        }
        Ok(false)
    }

    /// Whether the end of the connection completes the response.
    pub(super) fn ends_with_connection(&self) -> bool {
        matches!(self.head, Some(Head { length: None, .. }))
    }

    /// What arrived.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The body of a complete response. Bytes beyond its length do not belong to it.
pub(super) fn body(response: &[u8]) -> Result<&[u8], CallError> {
    let head = find_head(response, 0)?.ok_or(Flaw::Truncated)?;
    let rest = response.get(head.end..).unwrap_or_default();

    match head.length {
        Some(length) => rest.get(..length).ok_or(CallError::Malformed(Flaw::Truncated)),
        None => Ok(rest),
    }
}

/// The header at the front of `bytes`, of which the first `searched` hold no end of one; `None` if
/// more is needed. Each line is judged at its end, before what follows.
fn find_head(bytes: &[u8], searched: usize) -> Result<Option<Head>, CallError> {
    if bytes.iter().zip(PREFIX).any(|(byte, expected)| byte != expected) {
        return Err(Flaw::NotHttp.into());
    }

    let front = bytes.get(..MAX_HEAD).unwrap_or(bytes);
    let line_feeds = memchr::memchr_iter(b'\n', front.get(searched..).unwrap_or_default());
    for at in line_feeds {
        let lines = front.get(..=searched.saturating_add(at)).unwrap_or_default();
        if let Some(head) = parse(lines)? {
            return Ok(Some(head));
        }
    }
    if bytes.len() >= MAX_HEAD {
        return Err(CallError::TooLarge(MAX_HEAD));
    }
    Ok(None)
}

/// The header if these complete lines are all of it.
fn parse(lines: &[u8]) -> Result<Option<Head>, CallError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = Response::new(&mut fields);
    let status = response.parse(lines).map_err(|error| match error {
        httparse::Error::Version | httparse::Error::Status => Flaw::NotHttp,
        _ => Flaw::Header,
    })?;

    match response.code {
        Some(200) => {}
        Some(401) => return Err(CallError::Unauthorized),
        Some(code) => return Err(CallError::Status(code)),
        None => return Ok(None),
    }
    let Status::Complete(end) = status else {
        return Ok(None);
    };

    let mut length = None;
    for field in response.headers.iter() {
        if field.name.eq_ignore_ascii_case("Transfer-Encoding") {
            return Err(Flaw::TransferCoding.into());
        }
        if field.name.eq_ignore_ascii_case("Content-Length") {
            if length.is_some() {
                return Err(Flaw::Length.into());
            }
            length = Some(decimal(field.value).ok_or(Flaw::Length)?);
        }
    }
    Ok(Some(Head { end, length }))
}

/// Digits only, unlike `parse` alone, which takes a sign; one too large for the type is its
/// largest value, which is beyond every limit.
fn decimal(text: &[u8]) -> Option<usize> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok().map(|text| text.parse().unwrap_or(usize::MAX))
}
