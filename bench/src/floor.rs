//! The floor: the same probes from a loop that does nothing else.
//!
//! A new connection for each probe: `socket`, `connect`, `epoll_ctl`, `send`, `recv`, `close`, and a
//! share of `epoll_wait`, which is left every 10 ms at most. Nothing is judged, logged or shared.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use support::epoll::{Epoll, Event, Events, Interest};
use support::swarm::{self, Swarm};

/// The argument by which the program becomes the floor.
pub const NAME: &str = "floor-itself";

const PERIOD: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(10);
const PROBE: &[u8] = b"GET /hc HTTP/1.0\r\nHost: x\r\n\r\n";

/// A running floor. It ends with the value.
pub struct Floor(Child);

impl Floor {
    /// Has it probe every peer of a swarm once a second.
    pub fn start(swarm: &Swarm) -> Floor {
        let program = std::env::current_exe().expect("/proc is mounted");
        let arguments =
            [NAME.to_owned(), swarm.addresses().len().to_string(), swarm.port().to_string()];
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        // SAFETY: `prctl` is a plain system call, allowed between fork and exec.
        unsafe { command.pre_exec(support::nginx::end_with_the_test) };
        Floor(command.spawn().expect("this program starts"))
    }

    /// Its only process.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // It has nothing to put in order.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program as the floor: probes so many peers at that port until it is killed.
pub fn serve(arguments: &[String]) -> ExitCode {
    support::port::raise_open_files();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u16>().ok());
    let (Some(count), Some(port)) = (number(0), number(1)) else {
        return ExitCode::from(2);
    };
    let mut peers: Vec<Peer> =
        (0..count).map(|index| Peer::new(swarm::address(index, port))).collect();
    let epoll = Epoll::new();
    let mut events = Events::new();
    let start = Instant::now();
    let mut begun: u32 = 0;

    loop {
        let now = start.elapsed();
        while due(begun, count) <= now {
            let at = usize::try_from(begun % u32::from(count)).expect("a small number");
            peers[at].begin(&epoll, at);
            begun += 1;
        }
        let ticks = due(begun, count).as_nanos().div_ceil(TICK.as_nanos());
        let next = TICK * u32::try_from(ticks).expect("less than a year");
        epoll.wait(&mut events, next.saturating_sub(start.elapsed()));
        for event in events.iter() {
            peers[event.key].go_on(event);
        }
    }
}

/// When a probe is due after the start, evenly spread over each period.
fn due(number: u32, count: u16) -> Duration {
    let count = u32::from(count);
    PERIOD * (number / count) + PERIOD * (number % count) / count
}

struct Peer {
    address: SocketAddr,
    stream: Option<TcpStream>,
    sent: bool,
}

impl Peer {
    fn new(address: SocketAddr) -> Peer {
        Peer { address, stream: None, sent: false }
    }

    fn begin(&mut self, epoll: &Epoll, key: usize) {
        // One that has not answered within the period is given up.
        self.sent = false;
        self.stream = crate::socket::connect(self.address, None).ok();
        if let Some(stream) = &self.stream {
            epoll.add(stream, key, Interest::Changes);
        }
    }

    fn go_on(&mut self, event: Event) {
        let Some(stream) = &mut self.stream else { return };
        if !self.sent && event.writable {
            self.sent = true;
            if stream.write_all(PROBE).is_err() {
                self.stream = None;
            }
        } else if event.readable {
            let mut answer = [0; 1024];
            let again = |error: &io::Error| error.kind() == ErrorKind::WouldBlock;
            if !stream.read(&mut answer).as_ref().is_err_and(again) {
                self.stream = None;
            }
        }
    }
}
