//! Whom an upstream's balancer wants to have told of its programs.

use core::cell::{Cell, RefCell};

use healthcheck_core::program::{Program, State};

use crate::nginx::callbacks::{BackendMonitor, LoadMonitor};
use crate::nginx::upstream::Upstream;

/// A program's state in the numbers of the C interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    /// It gets requests.
    Up = 0,
    /// It does not run, or is not to be used.
    Down = 1,
    /// It is being started.
    Starting = 2,
    /// It gets no new requests, and will be or is being stopped.
    Stopping = 3,
}

impl Status {
    /// That of a program.
    pub(crate) fn of(program: Program) -> Status {
        match program.state() {
            // One that runs but is marked `down` gets no requests.
            State::Up if program.is_usable() => Status::Up,
            State::Up | State::Down => Status::Down,
            State::Starting => Status::Starting,
            State::Stopping => Status::Stopping,
        }
    }
}

/// The monitors of one upstream, and what they were told. A worker begins with what the master told
/// before it was forked.
#[derive(Default)]
pub(crate) struct Monitors {
    /// Is told of each program's state.
    backend: Cell<Option<BackendMonitor>>,
    /// Is told of the load.
    load: Cell<Option<LoadMonitor>>,
    /// What `backend` was told last, by program number.
    told: RefCell<Vec<Option<Status>>>,
    /// Whether a program may be in another state than `backend` was told.
    has_news: Cell<bool>,
    /// Whether `backend` runs.
    is_telling: Cell<bool>,
}

impl Monitors {
    /// Has the states of programs told to `monitor` from now on, which knows of none yet. One that says so
    /// each time that it is told something would be told for ever.
    pub(crate) fn set_backend(&self, monitor: BackendMonitor) {
        if self.is_telling.get() && self.backend.get().is_some_and(|told| told.is(monitor)) {
            return;
        }
        self.backend.set(Some(monitor));
        self.told.borrow_mut().clear();
        self.has_news.set(true);
    }

    /// Has the load told to `monitor` from now on.
    pub(crate) fn set_load(&self, monitor: LoadMonitor) {
        self.load.set(Some(monitor));
    }

    /// Who is told of the states of programs.
    pub(crate) fn backend(&self) -> Option<BackendMonitor> {
        self.backend.get()
    }

    /// Who is told of the load.
    pub(crate) fn load(&self) -> Option<LoadMonitor> {
        self.load.get()
    }

    /// Whether a program may be in another state than its monitor was told.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.has_news.get()
    }

    /// Notes whether there is something to tell, where the programs are in these states.
    pub(crate) fn look(&self, programs: impl Iterator<Item = Status>) {
        if self.backend.get().is_some() {
            let told = self.told.borrow();
            let mut told = told.iter().copied().chain(core::iter::repeat(None));
            self.has_news.set(programs.map(Some).any(|now| told.next() != Some(now)));
        }
    }

    /// Tells a program's state, unless that is what was told last. Nothing of the process may be
    /// borrowed.
    pub(crate) fn tell(&self, upstream: Upstream, number: usize, now: Status) {
        let Some(monitor) = self.backend.get() else { return };
        if self.note(number, now) {
            let is_telling = self.is_telling.replace(true);
            monitor.tell(upstream, number, now as u8);
            self.is_telling.set(is_telling);
        }
    }

    /// Notes what is about to be told; `false` when it was told last.
    fn note(&self, number: usize, now: Status) -> bool {
        let mut told = self.told.borrow_mut();
        if told.len() <= number {
            told.resize(number + 1, None);
        }
        told.get_mut(number).is_some_and(|last| last.replace(now) != Some(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_runs_and_gets_no_requests_is_down() {
        let found = |down| Program::initial(down, false);
        assert_eq!(Status::of(Program::initial(false, true)), Status::Up);
        assert_eq!(Status::of(found(false)), Status::Down);
        let running = found(true).reported(healthcheck_core::supervisor::ProcessState::Running);
        assert_eq!(running.map(Status::of), Some(Status::Down));
    }

    #[test]
    fn each_state_is_told_once() {
        let monitors = Monitors::default();
        assert!(monitors.note(1, Status::Down), "never told");
        assert!(!monitors.note(1, Status::Down));
        assert!(monitors.note(1, Status::Starting) && monitors.note(0, Status::Down));
    }
}
