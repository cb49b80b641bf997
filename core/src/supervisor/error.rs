//! Why a call did not succeed, in the words of the log.

use std::fmt;

use thiserror::Error;

use super::Fault;

/// Why a call did not succeed; the text says what supervisord answered, and is safe and short
/// enough for a log line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// Refused, reset or closed before all of the request was sent.
    #[error("couldn't connect to supervisord")]
    Connect,
    /// The limit of that phase passed.
    #[error("timed out while {0}")]
    TimedOut(Phase),
    /// The connection ended after the request and before the first byte of a response.
    #[error("supervisord closed the connection without a reply")]
    NoReply,
    /// HTTP status 401: the credentials are wrong or missing.
    #[error("unauthorized connection")]
    Unauthorized,
    /// Another HTTP status than 200.
    #[error("HTTP status {0}")]
    Status(u16),
    /// The response would be longer than this many bytes.
    #[error("reply of more than {0} bytes")]
    TooLarge(usize),
    /// The response is none that supervisord gives.
    #[error("malformed reply: {0}")]
    Malformed(#[from] Flaw),
    /// supervisord refused, and said why.
    #[error("{0}")]
    Fault(Fault),
    /// An error of this module.
    #[error("internal error")]
    Internal,
}

impl CallError {
    /// Whether it concerns the one program: another one may succeed at once. Otherwise it concerns
    /// supervisord itself or the way to it, and no command is worth trying before a while.
    pub fn is_of_program(&self) -> bool {
        matches!(self, CallError::Fault(fault) if fault.is_of_program())
    }

    /// Whether supervisord's next address is worth trying. Only where no supervisord can have got
    /// the whole request, so that a command is never given twice.
    pub fn is_connect(&self) -> bool {
        matches!(self, CallError::Connect | CallError::TimedOut(Phase::Connecting))
    }
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not yet connected.
    Connecting,
    /// Connected; not all of the request is out.
    Sending,
    /// The response is not complete.
    Reading,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Connecting => "connecting to supervisord",
            Phase::Sending => "sending to supervisord",
            Phase::Reading => "waiting for supervisord's reply",
        })
    }
}

/// What is wrong with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Flaw {
    /// The first bytes are not those of an HTTP/1.x response.
    #[error("not HTTP")]
    NotHttp,
    /// A header line that HTTP does not allow, or too many.
    #[error("bad HTTP header")]
    Header,
    /// `Content-Length` is no number, or there are two.
    #[error("bad Content-Length")]
    Length,
    /// `Transfer-Encoding`, which no answer to HTTP/1.0 has.
    #[error("transfer coding")]
    TransferCoding,
    /// The connection ended in the middle of it.
    #[error("connection closed in the middle of it")]
    Truncated,
    /// The body is not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// The body is not well-formed XML.
    #[error("not well-formed XML")]
    Xml,
    /// It declares a document type, which no XML-RPC has.
    #[error("document type declaration")]
    Doctype,
    /// Values are nested more deeply than any method's result.
    #[error("values nested too deeply")]
    Depth,
    /// Elements are not those of an XML-RPC response with exactly one value.
    #[error("not an XML-RPC response")]
    Shape,
    /// A fault without a number or a text.
    #[error("fault without faultCode and faultString")]
    Fault,
    /// A command's result is not the boolean 1.
    #[error("result is not the boolean 1")]
    NotTrue,
    /// Not as many entries as programs asked for.
    #[error("not one entry for each program")]
    Entries,
    /// An entry that is neither a process nor a fault.
    #[error("entry without state and pid")]
    Entry,
}
