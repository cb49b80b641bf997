//! A client that speaks just enough HTTP/2 without TLS: GETs, resets, statuses.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use support::{patient, LIMIT};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;

/// The end of a stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    /// Its response's status.
    Status(String),
    /// nginx has reset it.
    Reset,
}

/// A connection.
pub(crate) struct H2 {
    stream: TcpStream,
    next: u32,
    answers: BTreeMap<u32, Answer>,
}

impl H2 {
    /// Connects.
    pub(crate) fn connect(to: SocketAddr) -> H2 {
        let mut stream = TcpStream::connect(to).expect("nginx listens");
        stream.set_read_timeout(Some(patient(3 * LIMIT))).expect("a timeout above zero");
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("an open connection");
        let mut client = H2 { stream, next: 1, answers: BTreeMap::new() };
        client.send(SETTINGS, 0, 0, &[]);
        client
    }

    /// Sends a GET on a new stream, whose number is returned.
    pub(crate) fn get(&mut self, path: &str) -> u32 {
        self.get_all(1, path)[0]
    }

    /// Sends GETs in one piece, each on a new stream: nginx reads all of them before it does anything
    /// else.
    pub(crate) fn get_all(&mut self, count: u32, path: &str) -> Vec<u32> {
        // ":method: GET" and ":scheme: http" from the static table, the rest as literals.
        let length = |text: &str| u8::try_from(text.len()).expect("a short text");
        let mut block = vec![0x82, 0x86, 0x04, length(path)];
        block.extend_from_slice(path.as_bytes());
        block.extend_from_slice(b"\x01\x04test");
        let streams: Vec<u32> = (0..count).map(|number| self.next + 2 * number).collect();
        self.next += 2 * count;
        let frames = streams.iter().map(|stream| frame(HEADERS, 0x4 | 0x1, *stream, &block));
        let frames: Vec<u8> = frames.flatten().collect();
        self.stream.write_all(&frames).expect("an open connection");
        streams
    }

    /// Resets a stream.
    pub(crate) fn reset(&mut self, stream: u32) {
        self.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    }

    /// Waits for the end of a stream.
    pub(crate) fn answer(&mut self, stream: u32) -> Answer {
        loop {
            if let Some(answer) = self.answers.get(&stream) {
                return answer.clone();
            }
            self.receive();
        }
    }

    fn receive(&mut self) {
        let mut header = [0; 9];
        self.stream.read_exact(&mut header).expect("a frame");
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).expect("a frame's payload");
        match (header[3], header[4]) {
            (HEADERS, _) => {
                self.answers.insert(stream, Answer::Status(status(&payload)));
            }
            (RST_STREAM, _) => {
                self.answers.entry(stream).or_insert(Answer::Reset);
            }
            (SETTINGS, 0) => self.send(SETTINGS, 1, 0, &[]),
            (PING, 0) => self.send(PING, 1, 0, &payload),
            _ => {}
        }
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let frame = frame(kind, flags, stream, payload);
        self.stream.write_all(&frame).expect("an open connection");
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The status that a header block of nginx's begins with.
fn status(block: &[u8]) -> String {
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20).expect("a header");
    match &block[start..] {
        [0x88, ..] => "200".to_owned(),
        [0x08 | 0x48, 3, digits @ ..] => String::from_utf8_lossy(&digits[..3]).into_owned(),
        other => panic!("no status: {other:02x?}"),
    }
}
