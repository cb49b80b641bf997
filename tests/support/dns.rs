//! A DNS server for one test: answers A and AAAA questions from a list that the test changes.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The server, on a UDP port of 127.0.0.1. Every answer may be kept for one second.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    names: Mutex<HashMap<String, Vec<IpAddr>>>,
    answered: AtomicUsize,
    stopping: AtomicBool,
}

impl Dns {
    /// A server that knows no name yet.
    ///
    /// # Panics
    /// If the OS has no port.
    pub fn start() -> Dns {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a UDP port of 127.0.0.1");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout above zero");
        let address = socket.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = Arc::clone(&shared);
            Some(thread::spawn(move || serve(&socket, &shared)))
        };

        Dns { address, shared, thread }
    }

    /// Where it listens, as the `resolver` directive takes it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a name means from now on; without addresses it does not exist.
    pub fn set(&self, name: &str, addresses: &[IpAddr]) {
        let mut names = self.shared.names.lock().expect("the thread does not panic");
        names.insert(name.to_owned(), addresses.to_vec());
    }

    /// Questions answered so far.
    pub fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server's thread");
        }
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0; 512];

    while !shared.stopping.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((length, client)) => {
                if let Some(answer) = answer(&buffer[..length], shared) {
                    shared.answered.fetch_add(1, Ordering::Relaxed);
                    socket.send_to(&answer, client).expect("a datagram over loopback");
                }
            }
            // A client that is gone is reported at the next call.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => {
                // A process that was stopped, or frozen, and goes on has its calls interrupted.
                let kinds = [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted];
                assert!(kinds.contains(&error.kind()), "{error}");
            }
        }
    }
}

const HEADER: usize = 12;
const A: u16 = 1;
const AAAA: u16 = 28;

/// The answer to a query; `None` if it is none.
fn answer(query: &[u8], shared: &Shared) -> Option<Vec<u8>> {
    let (name, after) = read_name(query, HEADER)?;
    let kind = u16::from_be_bytes([*query.get(after)?, *query.get(after + 1)?]);
    let question = query.get(HEADER..after + 4)?;

    let names = shared.names.lock().expect("the test does not panic with the lock");
    let known = names.get(&name).filter(|addresses| !addresses.is_empty());
    let records: Vec<Vec<u8>> = known
        .into_iter()
        .flatten()
        .filter_map(|address| match (kind, address) {
            (A, IpAddr::V4(address)) => Some(address.octets().to_vec()),
            (AAAA, IpAddr::V6(address)) => Some(address.octets().to_vec()),
            _ => None,
        })
        .collect();

    let code: u8 = if known.is_some() { 0 } else { 3 };
    let count = u16::try_from(records.len()).ok()?.to_be_bytes();
    let mut answer = vec![query[0], query[1], 0x81, 0x80 | code, 0, 1, count[0], count[1]];
    answer.extend([0; 4]);
    answer.extend(question);
    for record in records {
        let length = u16::try_from(record.len()).ok()?.to_be_bytes();
        // The name of the question, its type, class IN, one second to live.
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 1]);
        answer.extend(length);
        answer.extend(record);
    }
    Some(answer)
}

/// The name at `at` in dots, and where it ends.
fn read_name(query: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();

    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn it_answers_from_the_list_of_the_moment() {
        let dns = Dns::start();
        let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
        client.connect(dns.address()).expect("an address");
        let ask = || {
            let mut query = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            query.extend(b"\x04many\x04test\x00\x00\x01\x00\x01");
            client.send(&query).expect("a datagram");
            let mut buffer = [0; 512];
            let length = client.recv(&mut buffer).expect("an answer");
            buffer[..length].to_vec()
        };

        assert_eq!(ask()[3], 0x83);
        let last = Ipv4Addr::new(127, 0, 0, 3);
        dns.set("many.test", &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(last)]);
        let answer = ask();
        assert_eq!(answer[..8], [7, 9, 0x81, 0x80, 0, 1, 0, 2]);
        assert_eq!(answer[answer.len() - 4..], last.octets());
        assert_eq!(dns.answered(), 2);
    }
}
