//! Asking supervisord how our programs are, once a while and once on the machine.

use core::sync::atomic::Ordering;
use std::sync::Arc;

use healthcheck_core::ending::Ending;
use healthcheck_core::lease::Lease;
use healthcheck_core::program::{Program, State};
use healthcheck_core::supervisor::{
    info_request, info_result, max_response, Call, CallError, Command, Limits, ProcessState,
};
use healthcheck_core::Msec;

use super::tasks::Work;
use super::trouble::Cause;
use super::Worker;
use crate::conf::supervisord::Supervisord;
use crate::nginx::process::{is_alive, now};
use crate::zone::supervisord::SupervisordCell;

/// How long a worker leaves an asking to the one whose turn it is, ms.
const HOME_ADVANTAGE: Msec = 1_000;

/// How soon supervisord is asked again that reports a program on its way, ms.
const ON_ITS_WAY: Msec = 500;

/// A supervisord is asked at most so often after failed requests, ms.
const AFTER_FAILURE: Msec = 1_000;

/// One supervisord, as the worker keeps it.
pub(crate) struct Supervised {
    /// Whom to call.
    supervisord: Arc<Supervisord>,
    /// Its record in shared memory.
    pub(super) cell: &'static SupervisordCell,
    /// Every program of ours that it runs: watch and number.
    programs: Vec<(usize, usize)>,
    /// From one asking to the next; the shortest of its upstreams'.
    every: Msec,
    /// Time limits of a call.
    limits: Limits,
}

/// An asking under way.
pub(super) struct Poll {
    /// Which supervisord, by place.
    supervisord: usize,
    /// The lease under which it is asked.
    lease: Lease,
    /// The programs' words before: an answer is only for those that did not change since.
    before: Vec<Option<Program>>,
}

impl Worker {
    /// Lists the supervisords that run programs of the worker's upstreams.
    pub(super) fn list_supervisords(&mut self) {
        for watch in 0..self.watches.len() {
            let Some(programs) = self.programs(watch) else { continue };
            let (managed, count) = (Arc::clone(&programs.managed), programs.count());
            let Some(supervisord) = &managed.supervisord else { continue };
            let Some((_, cell)) = self.zone.supervisords.find(supervisord.key()) else { continue };
            let is_it = |one: &Supervised| core::ptr::eq(one.cell, cell);
            let at = self.supervisords.iter().position(is_it).unwrap_or_else(|| {
                self.supervisords.push(Supervised {
                    supervisord: Arc::clone(supervisord),
                    cell,
                    programs: Vec::new(),
                    every: managed.rule.poll,
                    limits: managed.rule.limits,
                });
                self.supervisords.len() - 1
            });
            if let Some(one) = self.supervisords.get_mut(at) {
                one.every = one.every.min(managed.rule.poll);
                one.programs.extend((0..count).map(|number| (watch, number)));
            }
            if let Some(programs) = self.programs_mut(watch) {
                programs.supervisord = Some(at);
            }
        }
    }

    /// Whether this process is the first to ask a supervisord when it is due.
    fn is_home(&self, supervisord: usize) -> bool {
        supervisord % self.workers.max(1) == self.number
    }

    /// Asks every supervisord for which it is time.
    pub(super) fn ask_all(&mut self) {
        if self.retired {
            return;
        }
        for at in 0..self.supervisords.len() {
            let patience = if self.is_home(at) { 0 } else { HOME_ADVANTAGE };
            self.ask(at, patience);
        }
    }

    /// When a supervisord is to be asked next that this process is the first to ask.
    pub(super) fn next_poll(&self) -> Option<Msec> {
        let is_asking = |at: usize| {
            self.tasks
                .iter()
                .any(|task| matches!(&task.work, Work::Poll(poll) if poll.supervisord == at))
        };
        let homes = self.supervisords.iter().enumerate().filter(|(at, _)| self.is_home(*at));
        let idle = homes.filter(|(at, _)| !self.retired && !is_asking(*at));
        // What another process is asking now is looked at again at the next scan.
        let free = idle.filter(|(_, one)| one.cell.asker().pid() == 0);
        free.map(|(_, one)| one.cell.next_due()).min()
    }

    /// Wants the supervisord of a watch to be asked within `wait` ms; at once, this process does it.
    pub(super) fn ask_soon(&mut self, watch: usize, wait: Msec) {
        let Some(at) = self.programs(watch).and_then(|programs| programs.supervisord) else {
            return;
        };
        let Some(one) = self.supervisords.get(at) else { return };
        one.cell.hurry(now().saturating_add(wait));
        if wait == 0 {
            self.ask(at, 0);
        }
    }

    /// A request to a program of a watch has failed: what does supervisord say?
    pub(super) fn ask_after_failure(&mut self, watch: usize) {
        let Some(at) = self.programs(watch).and_then(|programs| programs.supervisord) else {
            return;
        };
        let Some(one) = self.supervisords.get(at) else { return };
        let earliest = one.cell.asked().saturating_add(AFTER_FAILURE.min(one.every));
        one.cell.hurry(earliest.max(now()));
    }

    /// Asks a supervisord if it has been due for `patience` and nobody else is asking it.
    fn ask(&mut self, at: usize, patience: Msec) {
        let now = now();
        let Some(one) = self.supervisords.get(at) else { return };
        let (cell, asker) = (one.cell, one.cell.asker());
        if now < cell.next_due().saturating_add(patience) {
            return;
        }
        // The own pid in a lease that this process does not hold is a dead process's.
        let is_mine = self
            .tasks
            .iter()
            .any(|task| matches!(&task.work, Work::Poll(poll) if poll.supervisord == at));
        let is_asking = asker.pid() != 0
            && asker.pid() != self.pid
            && now < asker.time()
            && is_alive(asker.pid());
        if is_mine || is_asking {
            return;
        }
        let addresses = Msec::try_from(one.supervisord.addresses.len()).unwrap_or(1);
        let longest =
            one.limits.total().saturating_add(one.limits.connect.saturating_mul(addresses));
        let lease = Lease::held(self.pid, now.saturating_add(longest));
        if !cell.swap_asker(asker, lease) {
            return;
        }
        cell.set_next_due(now.saturating_add(one.every));
        cell.set_asked(now);
        let word = |(watch, number): &(usize, usize)| {
            self.programs(*watch)?.cell(*number).map(|cell| cell.program())
        };
        let name = |(watch, number): &(usize, usize)| {
            self.programs(*watch).map(|one| one.managed.rule.program_name(*number))
        };
        let names: Vec<_> = one.programs.iter().filter_map(name).collect();
        let before = one.programs.iter().map(word).collect();
        let supervisord = Arc::clone(&one.supervisord);
        let request = info_request(&names, supervisord.credentials.as_deref());
        let call = Call::new(request, max_response(names.len()), one.limits);
        let poll = Poll { supervisord: at, lease, before };
        let token = self.tasks.add(Work::Poll(poll), None);
        self.call(token, &supervisord, call);
    }

    /// supervisord has answered, or has not.
    pub(super) fn on_poll_reply(&mut self, token: usize, response: Result<Vec<u8>, CallError>) {
        let Some(task) = self.tasks.take(token) else { return };
        let (Work::Poll(poll), refusal) = (task.work, task.refusal) else { return };
        let Some(one) = self.supervisords.get(poll.supervisord) else { return };
        let (cell, supervisord) = (one.cell, Arc::clone(&one.supervisord));
        let programs = one.programs.clone();
        let answer = response.and_then(|response| info_result(programs.len(), &response));
        match answer {
            Ok(infos) => {
                let mut is_moving = false;
                for ((program, before), info) in programs.iter().zip(&poll.before).zip(infos) {
                    let (state, pid) = match info {
                        Ok(info) => (info.state, info.pid),
                        // supervisord does not know the program.
                        Err(fault) if fault.is_of_program() => (ProcessState::Unknown, 0),
                        // supervisord is shutting down: that says nothing of the program yet.
                        Err(_) => continue,
                    };
                    is_moving |= matches!(
                        state,
                        ProcessState::Starting | ProcessState::Backoff | ProcessState::Stopping
                    );
                    self.on_report(*program, *before, state, pid);
                }
                if is_moving {
                    cell.hurry(now().saturating_add(ON_ITS_WAY));
                }
            }
            Err(error) => {
                let label = supervisord.label.escape_ascii();
                let reason = refusal.map_or_else(String::new, |refusal| format!(" ({refusal})"));
                let what =
                    format_args!("could not ask {label} how its programs are: {error}{reason}");
                self.trouble.note(Cause::Supervisord, now(), what);
            }
        }
        cell.set_answered(now());
        // Whoever has taken the asking over meanwhile keeps it.
        cell.swap_asker(poll.lease, Lease::free(now()));
    }

    /// supervisord reports a program's state; `before` is the program's word when it was asked.
    fn on_report(
        &mut self,
        (watch, number): (usize, usize),
        before: Option<Program>,
        state: ProcessState,
        pid: u32,
    ) {
        let cell = self.programs(watch).and_then(|programs| programs.cell(number));
        let (Some(cell), Some(before)) = (cell, before) else { return };
        cell.set_reported(Some((state, pid)));
        // Somebody had stopped it before the failure of a request did: that is no crash.
        let was_stopped = cell.last_command().is_some_and(|last| {
            last.command == Command::Stop && Ending::from_bits(last.result) == Ending::Already
        });
        if state == ProcessState::Stopped && was_stopped {
            cell.set_restart_at(None);
        }
        let Some(after) = before.reported(state) else { return };
        if state == ProcessState::Running && cell.program() == before {
            self.await_peers(watch, number);
        }
        if cell.swap(before, after) {
            if let Some(command) = before.command() {
                cell.set_last_command(command, Ending::Done.to_bits(), None);
            }
            self.changed(watch, number, before, after);
            if after.state() == State::Down {
                let crashed = matches!(state, ProcessState::Exited | ProcessState::Fatal);
                self.plan_restart(watch, number, after, crashed);
            }
        } else if let Some(watch) = self.watches.get(watch) {
            watch.generation.fetch_add(1, Ordering::Release);
        }
    }
}
