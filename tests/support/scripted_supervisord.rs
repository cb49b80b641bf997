//! A scripted supervisord: it records every byte it gets, answers as a test says, and else as a
//! real one would whose programs always start and stop.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::listener::{Listener, Place};
use crate::port::Port;
use crate::script::Script;
use crate::wire::{Wire, SLICE};

mod answer;
mod call;

pub use call::Call;

/// `supervisor.startProcess`.
pub const START: &str = "supervisor.startProcess";
/// `supervisor.stopProcess`.
pub const STOP: &str = "supervisor.stopProcess";
/// `supervisor.getProcessInfo`, on its own or in a `system.multicall`.
pub const INFO: &str = "supervisor.getProcessInfo";

/// What it says to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// What fits the program's state, which a start or stop changes.
    Fitting,
    /// A fault of supervisord's own kind, with this number; no state changes.
    Fault(i32),
    /// These bytes, whatever the call; no state changes.
    Script(Script),
}

impl Reply {
    /// 401, as for a wrong name or password.
    pub fn unauthorized() -> Reply {
        Reply::Script(Script::raw(
            "HTTP/1.0 401 Unauthorized\r\nServer: Medusa/1.12\r\nContent-Type: text/html\r\n\
             Content-Length: 0\r\nWWW-Authenticate: Basic realm=\"default\"\r\n\r\n",
        ))
    }

    /// A status of 200 and this text.
    pub fn text(body: &str) -> Reply {
        let length = body.len();
        Reply::Script(Script::raw(format!(
            "HTTP/1.0 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\n\r\n{body}"
        )))
    }

    /// These bytes and nothing else.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Reply {
        Reply::Script(Script::raw(bytes))
    }

    /// Never a byte.
    pub fn never() -> Reply {
        Reply::Script(Script::silent())
    }

    /// A close without a byte.
    pub fn close() -> Reply {
        Reply::Script(Script::close())
    }

    /// A start of an answer that does not end within ten megabytes.
    pub fn huge() -> Reply {
        let head = "HTTP/1.0 200 OK\r\nContent-Type: text/xml\r\n\r\n<?xml version='1.0'?>\n\
                    <methodResponse>\n<params>\n<param>\n<value><string>";
        let mut bytes = head.as_bytes().to_vec();
        bytes.resize(10 << 20, b'x');
        Reply::raw(bytes)
    }
}

/// A scripted supervisord on loopback or a unix socket. It ends with the value.
pub struct ScriptedSupervisord {
    place: Place,
    shared: Arc<Shared>,
    listening: Option<Listener>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    /// Programs by name: state by supervisord's name, and process.
    programs: BTreeMap<String, (&'static str, u32)>,
    /// Answers by method.
    replies: BTreeMap<String, Reply>,
    /// Answers for the next calls of a method, before `replies`.
    queue: BTreeMap<String, VecDeque<Reply>>,
    /// How long a program takes to start or stop.
    delays: BTreeMap<String, Duration>,
    /// Methods that wait until a test says so.
    held: Vec<String>,
}

impl ScriptedSupervisord {
    /// On a port of 127.0.0.1; every program is STOPPED.
    pub fn start() -> ScriptedSupervisord {
        ScriptedSupervisord::on(Port::reserve())
    }

    /// On a reserved port.
    pub fn on(port: impl Into<Arc<Port>>) -> ScriptedSupervisord {
        ScriptedSupervisord::of(Place::Tcp(port.into()))
    }

    /// On a unix socket at that path.
    pub fn unix(path: &Path) -> ScriptedSupervisord {
        ScriptedSupervisord::of(Place::Unix(path.to_owned()))
    }

    /// What it says to every call of a method that is not queued for.
    pub fn reply(&self, method: &str, reply: Reply) -> &ScriptedSupervisord {
        self.state().replies.insert(method.to_owned(), reply);
        self
    }

    /// What it says to every call.
    pub fn reply_to_all(&self, reply: &Reply) -> &ScriptedSupervisord {
        for method in [START, STOP, INFO] {
            self.reply(method, reply.clone());
        }
        self
    }

    /// What it says to the next calls of a method, one each.
    pub fn next_replies(
        &self,
        method: &str,
        replies: impl IntoIterator<Item = Reply>,
    ) -> &ScriptedSupervisord {
        self.state().queue.entry(method.to_owned()).or_default().extend(replies);
        self
    }

    /// How long that program is STARTING and STOPPING before the call is answered.
    pub fn delay(&self, program: &str, time: Duration) -> &ScriptedSupervisord {
        self.state().delays.insert(program.to_owned(), time);
        self
    }

    /// Leaves calls of a method without an answer until [`ScriptedSupervisord::release`].
    pub fn hold(&self, method: &str) -> &ScriptedSupervisord {
        self.state().held.push(method.to_owned());
        self
    }

    /// Answers all held calls of a method, and those to come.
    pub fn release(&self, method: &str) -> &ScriptedSupervisord {
        self.state().held.retain(|held| held != method);
        self.shared.changed.notify_all();
        self
    }

    /// Changes the state of a program, as its own exit or supervisorctl would.
    pub fn set_state(&self, program: &str, state: &'static str) -> &ScriptedSupervisord {
        self.state().change(program, state);
        self
    }

    /// The state of a program by supervisord's name.
    pub fn state_of(&self, program: &str) -> &'static str {
        self.state().program(program).0
    }

    /// The process that it claims for a program.
    pub fn pid_of(&self, program: &str) -> u32 {
        self.state().program(program).1
    }

    /// All calls so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// The calls of a method so far; each in a multicall counts.
    pub fn calls_of(&self, method: &str) -> Vec<Call> {
        let calls = self.calls();
        calls.into_iter().filter(|call| call.methods.iter().any(|own| own == method)).collect()
    }

    /// Calls of startProcess for that program so far.
    pub fn starts(&self, program: &str) -> usize {
        self.count(START, program)
    }

    /// Calls of stopProcess for that program so far.
    pub fn stops(&self, program: &str) -> usize {
        self.count(STOP, program)
    }

    /// Closes the listener and all connections; the port stays reserved and refuses.
    pub fn stop(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.tell_to_stop();
            self.shared.changed.notify_all();
            listening.stop();
        }
    }

    /// Listens again at the same place.
    pub fn restart(&mut self) {
        assert!(self.listening.is_none(), "it listens already");
        self.listening = Some(listen(&self.place, &self.shared));
    }

    fn of(place: Place) -> ScriptedSupervisord {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let listening = Some(listen(&place, &shared));

        ScriptedSupervisord { place, shared, listening }
    }

    fn count(&self, method: &str, program: &str) -> usize {
        let calls = self.calls_of(method);
        calls.iter().filter(|call| call.programs == [program]).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

/// As nginx's directive takes it.
impl fmt::Display for ScriptedSupervisord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

impl Drop for ScriptedSupervisord {
    fn drop(&mut self) {
        if thread::panicking() {
            let line = |call: &Call| match call.method.as_str() {
                "" => format!("no call: {:?}\n", String::from_utf8_lossy(&call.raw)),
                method => format!("{method} {:?}\n", call.programs),
            };
            let lines: String = self.calls().iter().map(line).collect();
            eprintln!("---- calls of supervisord\n{lines}----");
        }
        self.stop();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of supervisord panics")
    }

    /// The reply to a call, once no method in it is held; `None` if it need not be answered.
    fn choose(&self, call: &Call, wire: &Wire) -> Option<Reply> {
        let mut state = self.state();

        while state.held.iter().any(|held| call.methods.contains(held)) {
            state = self.changed.wait_timeout(state, SLICE).expect("no thread panics").0;
            if !wire.is_alive() || wire.is_gone() {
                return None;
            }
        }
        let method = call.methods.first()?;
        let queued = state.queue.get_mut(method).and_then(VecDeque::pop_front);
        Some(queued.or_else(|| state.replies.get(method).cloned()).unwrap_or(Reply::Fitting))
    }
}

impl State {
    fn program(&self, name: &str) -> (&'static str, u32) {
        self.programs.get(name).copied().unwrap_or(("STOPPED", 0))
    }

    fn change(&mut self, name: &str, state: &'static str) {
        let own = self.program(name).1;
        let runs = matches!(state, "STARTING" | "RUNNING" | "STOPPING");
        let pid = match (runs, own) {
            (false, _) => 0,
            (true, 0) => 1_000_000 + u32::try_from(self.calls.len()).expect("a small number"),
            (true, own) => own,
        };
        self.programs.insert(name.to_owned(), (state, pid));
    }
}

fn listen(place: &Place, shared: &Arc<Shared>) -> Listener {
    let shared = Arc::clone(shared);

    let serve = move |stream, alive, ()| serve(Wire::new(stream, alive), &shared);
    Listener::start(place, |_| {}, serve)
}

/// One call: supervisord closes the connection after its answer.
fn serve(mut wire: Wire, shared: &Shared) {
    let Some(raw) = read_request(&mut wire) else { return };
    let call = Call::parse(Instant::now(), raw);
    shared.state().calls.push(call.clone());

    match shared.choose(&call, &wire) {
        None => {}
        Some(Reply::Script(script)) => {
            wire.run(&script, || {});
        }
        Some(Reply::Fault(code)) => {
            wire.send(&answer::whole(&answer::fault(code, &call)));
        }
        Some(Reply::Fitting) => {
            let body = answer::fitting(&call, shared, &wire);
            wire.send(&answer::whole(&body));
        }
    }
}

/// Head and body.
fn read_request(wire: &mut Wire) -> Option<Vec<u8>> {
    let mut raw = wire.read_head()?;
    let length = call::content_length(&raw)?;
    let head = raw.windows(4).position(|window| window == b"\r\n\r\n")? + 4;

    while raw.len() < head + length {
        wire.read_more(&mut raw)?;
    }
    Some(raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::{member, Client, Fault};

    fn client(supervisord: &ScriptedSupervisord) -> Client {
        let Place::Tcp(port) = &supervisord.place else { panic!("a TCP place") };
        Client::tcp(port.address(), None)
    }

    #[test]
    fn programs_start_and_stop_by_themselves() {
        let supervisord = ScriptedSupervisord::start();
        let client = client(&supervisord);
        let fault = |code, text: &str| Err(Fault::Fault(code, text.to_owned()));
        let state = || member(&client.call(INFO, &["a0"]).expect("an answer"), "statename");

        assert_eq!(client.call(STOP, &["a0"]), fault(70, "NOT_RUNNING: a0"));
        client.call(START, &["a0"]).expect("it starts");
        assert_eq!((state().as_str(), supervisord.state_of("a0")), ("RUNNING", "RUNNING"));
        assert_eq!(client.call(START, &["a0"]), fault(60, "ALREADY_STARTED: a0"));
        client.call(STOP, &["a0"]).expect("it stops");
        assert_eq!(state(), "STOPPED");
        assert_eq!((supervisord.starts("a0"), supervisord.stops("a0")), (2, 2));
    }

    #[test]
    fn a_test_says_what_it_answers() {
        let supervisord = ScriptedSupervisord::start();
        let client = client(&supervisord);
        supervisord.reply(START, Reply::Fault(50)).next_replies(START, [Reply::unauthorized()]);

        assert_eq!(client.call(START, &["a0"]), Err(Fault::Other("status 401".to_owned())));
        assert!(matches!(client.call(START, &["a0"]), Err(Fault::Fault(50, _))));
        assert_eq!(supervisord.state_of("a0"), "STOPPED");
        supervisord.reply(START, Reply::Fitting).hold(START);
        thread::scope(|scope| {
            let call = scope.spawn(|| client.call(START, &["a0"]));
            crate::wait_until(crate::LIMIT, "the call", || supervisord.starts("a0") == 3);
            assert!(!call.is_finished());
            supervisord.release(START);
            call.join().expect("a client").expect("it starts");
        });
    }
}
