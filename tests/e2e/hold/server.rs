//! Peers of other protocols than HTTP/1, which answer probes by HTTP on the same port.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use support::{Port, LIMIT};

/// What a peer does with a connection that does not begin with a probe; it is given what has come
/// so far.
pub(crate) type Answer = fn(&mut Connection) -> io::Result<()>;

/// A peer. Probes fail until it is told otherwise.
pub(crate) struct Server {
    port: Port,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    healthy: AtomicBool,
    released: AtomicBool,
    ended: AtomicBool,
    requests: AtomicUsize,
    notes: Mutex<Vec<String>>,
}

/// A connection of a peer, and what was read of it and not yet used.
pub(crate) struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
    shared: Arc<Shared>,
}

impl Server {
    /// A peer that answers so.
    pub(crate) fn start(answer: Answer) -> Server {
        let port = Port::reserve();
        let listener = TcpListener::bind(port.address()).expect("the port");
        listener.set_nonblocking(true).expect("a listener of ours");
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept_all(&listener, &shared, answer))
        };
        Server { port, shared, thread: Some(thread) }
    }

    /// Whether probes pass.
    pub(crate) fn healthy(&self, healthy: bool) {
        self.shared.healthy.store(healthy, Ordering::Relaxed);
    }

    /// Has it answer what waits for that, and from now on at once; see [`when_released`].
    pub(crate) fn release(&self) {
        self.shared.released.store(true, Ordering::Relaxed);
    }

    /// Connections that did not begin with a probe.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// What the peer noted, in order.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.shared.notes.lock().expect("no panic").clone()
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.port.fmt(f)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        let joined = self.thread.take().map(JoinHandle::join);
        assert!(joined.is_none_or(|end| end.is_ok()) || thread::panicking(), "the server panicked");
    }
}

fn accept_all(listener: &TcpListener, shared: &Arc<Shared>, answer: Answer) {
    while !shared.ended.load(Ordering::Relaxed) {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        let shared = Arc::clone(shared);
        // A connection ends with the nginx of the test.
        thread::spawn(move || serve(stream, shared, answer));
    }
}

/// Errors are nginx's end of the connection.
fn serve(stream: TcpStream, shared: Arc<Shared>, answer: Answer) {
    stream.set_nonblocking(false).expect("a stream of ours");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout above zero");
    let mut connection = Connection { stream, unread: Vec::new(), shared };
    let Ok(begin) = connection.peek(3) else { return };
    if begin == b"GET" && connection.peek(7).is_ok_and(|begin| begin == b"GET /hc") {
        let _ = connection.head();
        let healthy = connection.shared.healthy.load(Ordering::Relaxed);
        let status = if healthy { 200 } else { 500 };
        let _ = connection.send(format!("HTTP/1.0 {status} Scripted\r\n\r\n").as_bytes());
        return;
    }
    connection.shared.requests.fetch_add(1, Ordering::Relaxed);
    let _ = answer(&mut connection);
}

impl Connection {
    /// The next bytes, which stay unread.
    fn peek(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < count {
            self.more()?;
        }
        Ok(self.unread[..count].to_vec())
    }

    /// The next bytes.
    pub(crate) fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        self.peek(count)?;
        Ok(self.unread.drain(..count).collect())
    }

    /// A head that ends in an empty line.
    pub(crate) fn head(&mut self) -> io::Result<String> {
        self.until(b"\r\n\r\n")
    }

    /// All up to and with these bytes.
    pub(crate) fn until(&mut self, end: &[u8]) -> io::Result<String> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                let taken: Vec<u8> = self.unread.drain(..at + end.len()).collect();
                return Ok(String::from_utf8_lossy(&taken).into_owned());
            }
            self.more()?;
        }
    }

    /// Sends all of it.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Notes something for the test.
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.shared.notes.lock().expect("no panic").push(text.into());
    }

    /// Waits until the test lets the peer answer, or ends.
    fn await_release(&self) {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        while !is_set(&self.shared.released) && !is_set(&self.shared.ended) {
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 64 * 1024];
        let count = self.stream.read(&mut buffer)?;
        self.unread.extend_from_slice(&buffer[..count]);
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

/// Reads an HTTP request with its body, notes the body's length, and answers.
pub(crate) fn http(connection: &mut Connection) -> io::Result<()> {
    loop {
        let head = connection.head()?;
        let length = head.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.map_or(0, |length| length.parse().expect("a number"));
        let body = connection.take(length)?;
        let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
        connection.note(format!("{length} {sum}"));
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhttp")?;
    }
}

/// Reads an HTTP request without a body, and answers it once the test says so.
pub(crate) fn when_released(connection: &mut Connection) -> io::Result<()> {
    connection.head()?;
    connection.await_release();
    connection.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
}

/// Takes the connection over for another protocol, which sends everything back.
pub(crate) fn upgraded(connection: &mut Connection) -> io::Result<()> {
    let head = connection.head()?;
    assert!(head.to_ascii_lowercase().contains("upgrade: echo"), "{head}");
    connection.send(b"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")?;
    loop {
        let byte = connection.take(1)?;
        connection.send(&byte)?;
    }
}

/// FastCGI: reads the records of one request, answers by one.
pub(crate) fn fastcgi(connection: &mut Connection) -> io::Result<()> {
    const END_REQUEST: u8 = 3;
    const STDIN: u8 = 5;
    const STDOUT: u8 = 6;

    let id = loop {
        let header = connection.take(8)?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        connection.take(length + usize::from(header[6]))?;
        if header[1] == STDIN && length == 0 {
            break [header[2], header[3]];
        }
    };
    let record = |kind: u8, content: &[u8]| {
        let length = u16::try_from(content.len()).expect("a small record").to_be_bytes();
        let mut record = vec![1, kind, id[0], id[1], length[0], length[1], 0, 0];
        record.extend_from_slice(content);
        record
    };
    let answer = b"Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nfastcgi";
    connection.send(&record(STDOUT, answer))?;
    connection.send(&record(STDOUT, b""))?;
    connection.send(&record(END_REQUEST, &[0; 8]))
}

/// uwsgi: reads the variables, answers and closes.
pub(crate) fn uwsgi(connection: &mut Connection) -> io::Result<()> {
    let header = connection.take(4)?;
    connection.take(usize::from(u16::from_le_bytes([header[1], header[2]])))?;
    connection.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuwsgi")
}

/// SCGI: reads the variables, answers and closes.
pub(crate) fn scgi(connection: &mut Connection) -> io::Result<()> {
    let length = connection.until(b":")?;
    let length: usize = length.trim_end_matches(':').parse().expect("a netstring");
    connection.take(length + 1)?;
    connection.send(b"Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nscgi")
}

/// memcached: one value whatever the key.
pub(crate) fn memcached(connection: &mut Connection) -> io::Result<()> {
    let line = connection.until(b"\r\n")?;
    let key = line.trim_end().trim_start_matches("get ");
    connection.send(format!("VALUE {key} 0 9\r\nmemcached\r\nEND\r\n").as_bytes())
}

/// gRPC over HTTP/2: waits for the request's headers, answers with a message and trailers.
pub(crate) fn grpc(connection: &mut Connection) -> io::Result<()> {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;

    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    };
    connection.take(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len())?;
    connection.send(&frame(SETTINGS, 0, 0, &[]))?;
    let stream = loop {
        let header = connection.take(9)?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        connection.take(length as usize)?;
        if header[3] == HEADERS {
            break u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        }
    };
    // ":status: 200", then literals without indexing.
    let literal = |name: &[u8], value: &[u8]| {
        let length = |text: &[u8]| u8::try_from(text.len()).expect("a short text");
        [&[0, length(name)], name, &[length(value)], value].concat()
    };
    let begin = [&[0x88][..], &literal(b"content-type", b"application/grpc")].concat();
    connection.send(&frame(SETTINGS, 1, 0, &[]))?;
    connection.send(&frame(HEADERS, 4, stream, &begin))?;
    connection.send(&frame(DATA, 0, stream, b"grpc"))?;
    connection.send(&frame(HEADERS, 5, stream, &literal(b"grpc-status", b"0")))?;
    // nginx may keep the connection.
    connection.take(1).map(drop)
}
