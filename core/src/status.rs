//! The status page's formats: their registry, and which of them a request or a directive chooses.
//!
//! A format only writes a [`PageReport`] as bytes; methods, headers and sending are the content
//! handler's. A new one is a file in `status/` with its `mod` and a line in [`STATUS_FORMATS`].

use std::fmt;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

use thiserror::Error;

use crate::report::PageReport;
use crate::value::quotable;

mod html;
mod json;

/// Every format, one line each.
#[rustfmt::skip]
pub static STATUS_FORMATS: &[Format] = &[
    format::<html::Html>(),
    format::<json::Json>(),
];

/// The format of a page whose directive names none.
pub static DEFAULT_FORMAT: Format = format::<html::Html>();

/// What a format implements.
pub trait StatusFormat {
    /// What the directive and `?format=` call it.
    const NAME: &'static str;
    /// The `Content-Type` of the response.
    const CONTENT_TYPE: &'static str;

    /// Appends the page to `out`, every peer in time linear in their number.
    ///
    /// # Errors
    /// Those of a serializer; writing into a vector has none of its own.
    fn write(page: &PageReport<'_>, out: &mut Vec<u8>) -> io::Result<()>;
}

/// A registered format.
#[derive(Debug)]
pub struct Format {
    name: &'static str,
    content_type: &'static str,
    write: fn(&PageReport<'_>, &mut Vec<u8>) -> io::Result<()>,
}

impl Format {
    /// What the directive and `?format=` call it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The `Content-Type` of the response.
    pub fn content_type(&self) -> &'static str {
        self.content_type
    }

    /// Appends the page to `out`.
    ///
    /// # Errors
    /// Those of [`StatusFormat::write`]: no page can be sent.
    pub fn write(&self, page: &PageReport<'_>, out: &mut Vec<u8>) -> io::Result<()> {
        (self.write)(page, out)
    }
}

/// No registered format has the name that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid value {0:?}, {FormatNames} is accepted")]
pub struct UnsupportedFormat(String);

/// The format of that exact name.
pub fn format_by_name(name: &[u8]) -> Option<&'static Format> {
    STATUS_FORMATS.iter().find(|format| format.name.as_bytes() == name)
}

/// The format that a query string chooses: the value of its first `format=`, or `default` where
/// it has none. Names and values count case, and are not percent-decoded.
///
/// # Errors
/// [`UnsupportedFormat`] if that value, which may be empty, is no registered name.
pub fn format_from_query(
    args: &[u8],
    default: &'static Format,
) -> Result<&'static Format, UnsupportedFormat> {
    args.split(|&byte| byte == b'&')
        .find_map(|arg| arg.strip_prefix(b"format="))
        .map_or(Ok(default), format_from_argument)
}

/// The format that a directive's argument names.
///
/// # Errors
/// [`UnsupportedFormat`], whose text names those that exist.
pub fn format_from_argument(name: &[u8]) -> Result<&'static Format, UnsupportedFormat> {
    format_by_name(name).ok_or_else(|| UnsupportedFormat(quotable(name)))
}

const fn format<F: StatusFormat>() -> Format {
    Format { name: F::NAME, content_type: F::CONTENT_TYPE, write: F::write }
}

struct FormatNames;

impl fmt::Display for FormatNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, format) in STATUS_FORMATS.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { " or " }, format.name)?;
        }
        Ok(())
    }
}

/// RFC 3339 in UTC with milliseconds, such as `2026-08-21T07:00:00.000Z`. A time after the year
/// 9999, which the format cannot write, is shown as the last one before.
fn rfc3339(epoch_ms: u64) -> humantime::Rfc3339Timestamp {
    const LAST: u64 = 253_402_300_799_999;

    let since = Duration::from_millis(epoch_ms.min(LAST));
    humantime::format_rfc3339_millis(UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH))
}
