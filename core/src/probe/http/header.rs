//! The header of a response, interim responses skipped: collected line by line, each byte looked
//! at once, and parsed when its last line is in.
//!
//! httparse knows the syntax; here are only the limits, the early verdicts and the four facts that
//! the body's end depends on. Other header fields are not looked at.

use std::mem::MaybeUninit;

use httparse::{ParserConfig, Response, Status};

use crate::outcome::Outcome;

/// What every acceptable response begins with.
const PREFIX: &[u8] = b"HTTP/1.";
/// Header lines that a response may have, status lines aside, interim responses and the further
/// lines of folded fields included.
const MAX_LINES: usize = 128;

/// What the header says of the end of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// What Content-Length says, in bytes.
    pub(super) length: Length,
    /// The last transfer coding is "chunked".
    pub(super) chunked: bool,
}

/// All Content-Length fields of a header together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// There is none.
    Absent,
    /// They agree on this many bytes.
    Bytes(u64),
    /// They differ, or one is no number.
    Malformed,
}

/// Collects one response's header.
#[derive(Debug)]
pub(super) struct HeaderReader {
    /// All bytes of the header so far. Never grows beyond `limit`, its first capacity.
    bytes: Vec<u8>,
    limit: usize,
    part: Part,
    /// Where in `bytes` the response being read begins: 0, or the end of an interim one.
    response: usize,
    /// Where in `bytes` the line being read begins.
    line: usize,
    /// Header lines so far.
    lines: usize,
}

/// What the line being read belongs to.
#[derive(Clone, Copy, Debug)]
enum Part {
    StatusLine,
    /// The fields of an interim response: another response follows.
    InterimFields,
    Fields,
}

impl HeaderReader {
    /// A reader of headers of up to `limit` bytes.
    pub(super) fn new(limit: usize) -> HeaderReader {
        let bytes = Vec::with_capacity(limit);

        HeaderReader { bytes, limit, part: Part::StatusLine, response: 0, line: 0, lines: 0 }
    }

    /// Forgets the header, keeps the buffer.
    pub(super) fn restart(&mut self) {
        self.bytes.clear();
        self.part = Part::StatusLine;
        self.response = 0;
        self.line = 0;
        self.lines = 0;
    }

    /// Takes the header's part from the front of `input`. `None`: all of it, and more is needed.
    ///
    /// # Errors
    ///
    /// The verdict on a header that ends the probe: `BadStatusLine`, `BadCode`, `MalformedHeader`
    /// or `DoesNotFit`, each at the first byte that proves it.
    pub(super) fn take(&mut self, input: &mut &[u8]) -> Result<Option<Head>, Outcome> {
        while !input.is_empty() {
            let room = self.limit.saturating_sub(self.bytes.len()).min(input.len());
            let fits = input.get(..room).unwrap_or_default();
            let line_feed = memchr::memchr(b'\n', fits);
            let taken = line_feed.map_or(room, |at| at.saturating_add(1));
            let (taken, rest) = input.split_at(taken);
            self.bytes.extend_from_slice(taken);
            *input = rest;

            if matches!(self.part, Part::StatusLine) && !is_prefix_of_http(self.current_line()) {
                return Err(Outcome::BadStatusLine);
            }
            if line_feed.is_some() {
                if let Some(head) = self.end_line()? {
                    return Ok(Some(head));
                }
            }
            // The header is not complete, so it has at least one byte more.
            if self.bytes.len() >= self.limit {
                return Err(Outcome::DoesNotFit);
            }
        }

        Ok(None)
    }

    /// Judges the line whose line feed has just come, and begins the next one.
    fn end_line(&mut self) -> Result<Option<Head>, Outcome> {
        let is_blank = matches!(self.current_line(), b"\n" | b"\r\n");

        match self.part {
            Part::StatusLine => {
                self.part = match parse_code(self.current_line()).ok_or(Outcome::BadStatusLine)? {
                    200 => Part::Fields,
                    // No 101: nobody asked for another protocol, so that is the final answer.
                    100 | 102..=199 => Part::InterimFields,
                    _ => return Err(Outcome::BadCode),
                };
            }
            Part::Fields if is_blank => return self.parse().map(Some),
            Part::InterimFields if is_blank => {
                self.parse()?;
                self.part = Part::StatusLine;
                self.response = self.bytes.len();
            }
            Part::Fields | Part::InterimFields => {
                self.lines = self.lines.saturating_add(1);
                if self.lines > MAX_LINES {
                    return Err(Outcome::DoesNotFit);
                }
            }
        }

        self.line = self.bytes.len();
        Ok(None)
    }

    /// The complete header of the response that is being read.
    fn parse(&self) -> Result<Head, Outcome> {
        let block = self.bytes.get(self.response..).unwrap_or_default();
        // Not initialised: clearing it would cost more than parsing, for each of many interim
        // responses.
        let mut headers = [const { MaybeUninit::uninit() }; MAX_LINES];
        let mut response = Response::new(&mut []);

        match parser().parse_response_with_uninit_headers(&mut response, block, &mut headers) {
            Ok(Status::Complete(_)) => Ok(Head::of(&response)),
            _ => Err(Outcome::MalformedHeader),
        }
    }

    fn current_line(&self) -> &[u8] {
        self.bytes.get(self.line..).unwrap_or_default()
    }
}

impl Head {
    fn of(response: &Response<'_, '_>) -> Head {
        let mut length = Length::Absent;
        let mut chunked = false;

        for header in response.headers.iter() {
            if header.name.eq_ignore_ascii_case("Content-Length") {
                length = elements(header.value).fold(length, Length::and);
            } else if header.name.eq_ignore_ascii_case("Transfer-Encoding") {
                if let Some(coding) = elements(header.value).rfind(|coding| !coding.is_empty()) {
                    chunked = coding.eq_ignore_ascii_case(b"chunked");
                }
            }
        }

        Head { length, chunked }
    }
}

impl Length {
    /// With one more value, which must be the same again.
    fn and(self, value: &[u8]) -> Length {
        match (self, parse_decimal(value)) {
            (Length::Absent, Some(bytes)) => Length::Bytes(bytes),
            (Length::Bytes(known), Some(bytes)) if known == bytes => self,
            _ => Length::Malformed,
        }
    }
}

/// httparse, as tolerant of a response's fields as nginx is.
fn parser() -> ParserConfig {
    let mut parser = ParserConfig::default();

    parser.allow_obsolete_multiline_headers_in_responses(true);
    parser.allow_spaces_after_header_name_in_responses(true);
    parser
}

/// Whether `line`, of which more may come, can still become an HTTP/1.x status line.
fn is_prefix_of_http(line: &[u8]) -> bool {
    line.iter().zip(PREFIX).all(|(byte, expected)| byte == expected)
}

/// The code of a complete status line, or `None` if it is none. The reason and the blank before
/// it may be missing.
fn parse_code(line: &[u8]) -> Option<u16> {
    let mut response = Response::new(&mut []);

    match parser().parse_response(&mut response, line) {
        // A good line is used up, line feed included; what is missing is the rest of the header.
        Ok(Status::Partial) => response.code,
        _ => None,
    }
}

/// The elements of a list field, blanks and line folds around them cut off; one empty element if
/// there is nothing.
fn elements(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Digits only, unlike `parse` alone, which takes a sign.
fn parse_decimal(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;

    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}
