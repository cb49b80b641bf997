//! Calls to supervisord: connections in nginx's event loop, driven by core's machine without I/O.

use healthcheck_core::probe::Event;
use healthcheck_core::schedule::TICK;
use healthcheck_core::supervisor::{Call, CallAction, CallError};
use healthcheck_core::Msec;
use std::io;
use std::sync::Arc;

use super::commands::Errand;
use super::polls::Poll;
use super::{with_worker, Worker};
use crate::conf::supervisord::Supervisord;
use crate::nginx::connection::{Observer, OpenError, PeerConnection, Read, Write};
use crate::nginx::process::now;

/// Bytes read from supervisord at a time.
const READ_BUFFER: usize = 16 * 1024;

/// What this process does about programs, by token.
#[derive(Default)]
pub(crate) struct Tasks(Vec<Option<Task>>);

/// One command or asking.
pub(super) struct Task {
    /// What it is.
    pub(super) work: Work,
    /// When it wants attention; `None`: only when its call does.
    pub(super) wake: Option<Msec>,
    /// Why the last address could not be connected to, where the system said so at once.
    pub(super) refusal: Option<io::Error>,
    /// Its call, if one is under way.
    call: Option<Ongoing>,
}

/// What a task is.
pub(super) enum Work {
    /// A command is carried out.
    Command(Errand),
    /// A supervisord is asked for the states of our programs.
    Poll(Poll),
}

/// A call under way.
struct Ongoing {
    /// The machine.
    machine: Call,
    /// Whom to call.
    supervisord: Arc<Supervisord>,
    /// Which of its addresses comes next.
    next_address: usize,
    /// The connection; closed when the call is dropped.
    connection: Option<PeerConnection>,
}

/// Events of connections to supervisord; the token is the task's place.
struct Events;

impl Observer for Events {
    fn readable(token: usize) {
        with_worker(|worker| {
            worker.on_reply(token);
            worker.arm();
        });
    }

    fn writable(token: usize) {
        with_worker(|worker| {
            worker.on_call_event(token, Event::Connected);
            worker.arm();
        });
    }

    // A worker that is to end carries its commands out first.
    fn closing(token: usize) {
        Self::readable(token);
    }
}

impl Tasks {
    /// Adds a task that wants attention at `wake`; returns its token.
    pub(super) fn add(&mut self, work: Work, wake: Option<Msec>) -> usize {
        let task = Some(Task { work, wake, refusal: None, call: None });
        match self.0.iter_mut().enumerate().find(|(_, place)| place.is_none()) {
            Some((at, place)) => {
                *place = task;
                at
            }
            None => {
                self.0.push(task);
                self.0.len() - 1
            }
        }
    }

    /// The task with this token.
    pub(super) fn get_mut(&mut self, token: usize) -> Option<&mut Task> {
        self.0.get_mut(token)?.as_mut()
    }

    /// Ends a task; its connection is closed.
    pub(super) fn take(&mut self, token: usize) -> Option<Task> {
        self.0.get_mut(token)?.take()
    }

    /// The token of the command that this process carries out on a program.
    pub(super) fn of_program(&self, watch: usize, number: usize) -> Option<usize> {
        let is_its = |task: &Task| matches!(&task.work, Work::Command(one) if (one.watch, one.number) == (watch, number));
        self.0.iter().position(|task| task.as_ref().is_some_and(is_its))
    }

    /// Every task.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Task> {
        self.0.iter().flatten()
    }

    /// Whether any is a stop that was accepted: where nginx ends, nobody else would carry it out. A
    /// start is nobody's wish then.
    pub(super) fn has_stops(&self) -> bool {
        self.iter().any(|task| match &task.work {
            Work::Command(errand) => errand.is_stop(),
            Work::Poll(_) => false,
        })
    }

    /// A task that wants attention at `now`.
    fn due(&self, now: Msec) -> Option<usize> {
        self.0.iter().position(|task| {
            task.as_ref().and_then(Task::next_wake).is_some_and(|wake| wake <= now)
        })
    }

    /// When the next task wants attention.
    pub(super) fn next_wake(&self) -> Option<Msec> {
        self.iter().filter_map(Task::next_wake).min()
    }
}

impl Task {
    /// When it, or its call, wants attention.
    fn next_wake(&self) -> Option<Msec> {
        let deadline = self
            .call
            .as_ref()
            .and_then(|call| call.connection.is_some().then(|| call.machine.deadline()));
        self.wake.into_iter().chain(deadline).min()
    }
}

impl Worker {
    /// Does what is due about commands and askings.
    pub(super) fn tick_tasks(&mut self) {
        let now = now();
        while let Some(token) = self.tasks.due(now) {
            let Some(task) = self.tasks.get_mut(token) else { return };
            // Whoever handles it sets the next time.
            let is_waking = task.wake.take_if(|wake| *wake <= now).is_some();
            match (&task.call, is_waking) {
                (Some(call), _) if call.connection.is_some() => self.on_call_deadline(token),
                (Some(_), _) => self.connect(token),
                (None, _) => self.on_wake(token),
            }
        }
    }

    /// Begins a call of a task.
    pub(super) fn call(&mut self, token: usize, supervisord: &Arc<Supervisord>, machine: Call) {
        if let Some(task) = self.tasks.get_mut(token) {
            let supervisord = Arc::clone(supervisord);
            task.wake = None;
            task.refusal = None;
            task.call = Some(Ongoing { machine, supervisord, next_address: 0, connection: None });
        }
        self.connect(token);
    }

    /// Connects to supervisord's next address.
    fn connect(&mut self, token: usize) {
        let now = now();
        loop {
            let Some(task) = self.tasks.get_mut(token) else { return };
            let Some(call) = &mut task.call else { return };
            call.connection = None;
            let Some(address) = call.supervisord.addresses.get(call.next_address) else {
                return self.end_call(token, Err(CallError::Connect));
            };
            match PeerConnection::open::<Events>(address, token, false) {
                Ok((mut connection, is_connected)) => {
                    if !connection.watch() {
                        task.wake = Some(now + 10 * TICK);
                        return;
                    }
                    call.next_address += 1;
                    call.machine.start(now);
                    call.connection = Some(connection);
                    if is_connected {
                        self.on_call_event(token, Event::Connected);
                    }
                    return;
                }
                Err(OpenError::Peer(error)) => {
                    call.next_address += 1;
                    task.refusal = Some(error);
                }
                Err(OpenError::Local(_) | OpenError::Port(_)) => {
                    // No descriptor, connection or port is free: it is not supervisord's fault.
                    task.wake = Some(now + 10 * TICK);
                    return;
                }
            }
        }
    }

    /// Hands an event to the call's machine and does what it asks for.
    fn on_call_event(&mut self, token: usize, event: Event<'_>) {
        let now = now();
        let Some(task) = self.tasks.get_mut(token) else { return };
        let Some(Ongoing { machine, connection: Some(connection), .. }) = &mut task.call else {
            return;
        };
        let mut action = machine.on_event(event, now);
        while let CallAction::Send = action {
            let event = match connection.write(machine.to_send()) {
                Write::Bytes(count) => Event::Sent(count),
                Write::Nothing => break,
                Write::Failed => Event::Failed,
            };
            action = machine.on_event(event, now);
        }
        if let CallAction::Finish(result) = action {
            return self.on_call_end(token, result);
        }
        if !connection.watch() {
            self.on_call_end(token, Err(CallError::Internal));
        }
    }

    /// The time limit of a call has passed.
    fn on_call_deadline(&mut self, token: usize) {
        // What came in time but was not read yet decides: this process may have been held up.
        if let Some(Task { call: Some(Ongoing { connection: Some(connection), .. }), .. }) =
            self.tasks.get_mut(token)
        {
            connection.expect_bytes();
        }
        self.on_reply(token);
        let is_over = self
            .tasks
            .get_mut(token)
            .and_then(|task| task.call.as_ref())
            .is_some_and(|call| call.connection.is_some() && call.machine.deadline() <= now());
        if is_over {
            self.on_call_event(token, Event::Deadline);
        }
    }

    /// Reads all that supervisord has sent.
    fn on_reply(&mut self, token: usize) {
        let mut buffer = vec![0; READ_BUFFER];
        while let Some(Task { call: Some(Ongoing { connection: Some(connection), .. }), .. }) =
            self.tasks.get_mut(token)
        {
            let event = match connection.read(&mut buffer) {
                Read::Bytes(count) => Event::Received(buffer.get(..count).unwrap_or_default()),
                Read::End => Event::Closed,
                Read::Failed => Event::Failed,
                Read::Nothing => {
                    // A read that filled the buffer has left nginx thinking that there is more.
                    if !connection.watch() {
                        self.on_call_end(token, Err(CallError::Internal));
                    }
                    return;
                }
            };
            let is_last = !matches!(event, Event::Received(_));
            self.on_call_event(token, event);
            if is_last {
                return;
            }
        }
    }

    /// A call has ended on one address: the next one is tried where no supervisord can have got the
    /// whole request.
    fn on_call_end(&mut self, token: usize, result: Result<(), CallError>) {
        let Some(Task { call: Some(call), .. }) = self.tasks.get_mut(token) else { return };
        let is_last = call.next_address >= call.supervisord.addresses.len();
        match result {
            Err(error) if error.is_connect() && !is_last => self.connect(token),
            result => self.end_call(token, result),
        }
    }

    /// A call has ended: its task goes on.
    fn end_call(&mut self, token: usize, result: Result<(), CallError>) {
        let Some(task) = self.tasks.get_mut(token) else { return };
        let Some(call) = task.call.take() else { return };
        let response = result.map(|()| call.machine.response().to_vec());
        drop(call);
        match &task.work {
            Work::Command(_) => self.on_command_reply(token, response),
            Work::Poll(_) => self.on_poll_reply(token, response),
        }
    }
}
