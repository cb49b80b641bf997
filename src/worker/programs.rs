//! The programs of an upstream: what commands are accepted, what failures and load lead to.

use std::sync::Arc;

use healthcheck_core::ending::Ending;
use healthcheck_core::key::Key;
use healthcheck_core::program::{Begin, Cause, Program, State};
use healthcheck_core::programs::{choose, for_request, Asked, Candidate, Refusal, Target, Wanted};
use healthcheck_core::supervision::OnFailure;
use healthcheck_core::supervisor::Command;
use healthcheck_core::Msec;

use super::{with_worker, Worker};
use crate::balancer::mirror::Image;
use crate::conf::monitors::Status;
use crate::conf::Managed;
use crate::nginx::callbacks::Checker;
use crate::nginx::log::{log, Level};
use crate::nginx::process::{is_alive, now};
use crate::nginx::upstream::Upstream;
use crate::zone::program::ProgramCell;
use crate::zone::upstream::Note;
use crate::zone::Zone;

/// How long a request waits for the first answer of a supervisord that was just asked which of our
/// programs run, before it starts one, ms.
const FIRST_ANSWER: Msec = 500;

/// A program whose commands keep failing the same way is logged so often by each worker, ms.
const COMPLAIN_EVERY: Msec = 10_000;

/// The programs of one upstream, as the worker keeps them.
pub(crate) struct Programs {
    /// The configuration.
    pub(super) managed: Arc<Managed>,
    /// Place in the zone's table, and record, by program number.
    cells: Vec<(usize, &'static ProgramCell)>,
    /// Its supervisord, by place among the worker's; `None`: nobody is called.
    pub(super) supervisord: Option<usize>,
    /// What takes the note of a command back that this process has accepted, by program number.
    pub(super) notes: Vec<Option<Note>>,
    /// The last failed command that was logged: how it ended, and when; by program number.
    complaints: Vec<Option<(Ending, Msec)>>,
    /// The epochs of commands whose worker seemed to be gone at the last look, by program number.
    pub(super) orphans: Vec<Option<u64>>,
}

impl Programs {
    /// The programs of an upstream; `None` when the zone lacks one, which `init_zone` rules out.
    pub(super) fn new(zone: Zone, upstream: Upstream, managed: Arc<Managed>) -> Option<Programs> {
        let cell = |number| zone.programs.find(Key::of_program(upstream.name(), number));
        let cells: Option<Vec<_>> = (0..managed.lines.len()).map(cell).collect();
        let orphans = vec![None; managed.lines.len()];
        let complaints = vec![None; managed.lines.len()];
        let notes = vec![None; managed.lines.len()];
        Some(Programs { managed, cells: cells?, supervisord: None, notes, complaints, orphans })
    }

    /// The record of a program.
    pub(super) fn cell(&self, number: usize) -> Option<&'static ProgramCell> {
        self.cells.get(number).map(|(_, cell)| *cell)
    }

    /// The place of a program in the zone's table.
    pub(super) fn place(&self, number: usize) -> Option<usize> {
        self.cells.get(number).map(|(place, _)| *place)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.cells.len()
    }

    /// Whether a failed command is to be logged: not if the last one of the program ended the same way
    /// a moment ago. While none can be started, each request tries.
    pub(super) fn is_news(&mut self, number: usize, ending: Ending) -> bool {
        let Some(last) = self.complaints.get_mut(number) else { return false };
        let is_news = last.is_none_or(|(before, at)| {
            before != ending || now().saturating_sub(at) >= COMPLAIN_EVERY
        });
        if is_news {
            *last = Some((ending, now()));
        }
        is_news
    }

    /// Has the next failed command of a program be logged, however the last one ended.
    pub(super) fn forget_complaint(&mut self, number: usize) {
        if let Some(last) = self.complaints.get_mut(number) {
            *last = None;
        }
    }

    /// Has programs whose start failed in this round of starts count as not tried.
    pub(super) fn forget_failed_starts(&self) {
        for (_, cell) in &self.cells {
            cell.set_failed_round(0);
        }
    }

    /// The words of all, by number.
    pub(super) fn words(&self) -> Vec<Program> {
        self.cells.iter().map(|(_, cell)| cell.program()).collect()
    }

    /// The states of all, by number, as balancers are told them.
    pub(super) fn statuses(&self) -> impl Iterator<Item = Status> + '_ {
        self.cells.iter().map(|(_, cell)| Status::of(cell.program()))
    }
}

/// Asks for a command on a program of the upstream with this number among the worker's; for the
/// pages. `None` when this process has no worker.
pub(crate) fn command(upstream: Upstream, command: Command, target: Target) -> Option<Asked> {
    with_worker(|worker| {
        let watch = worker.watches.iter().position(|watch| watch.upstream == upstream)?;
        let asked = worker.ask_for(watch, command, target, Cause::Url);
        worker.arm();
        Some(asked)
    })
    .flatten()
}

impl Worker {
    /// The programs of a watch.
    pub(super) fn programs(&self, watch: usize) -> Option<&Programs> {
        self.watches.get(watch)?.programs.as_ref()
    }

    /// The programs of a watch.
    pub(super) fn programs_mut(&mut self, watch: usize) -> Option<&mut Programs> {
        self.watches.get_mut(watch)?.programs.as_mut()
    }

    /// The record of the program behind a server line.
    pub(super) fn program_of(
        &self,
        watch: usize,
        line: Option<u32>,
    ) -> Option<&'static ProgramCell> {
        self.programs(watch)?.cell(usize::try_from(line?).ok()?)
    }

    /// Requests that a program serves now, on the whole machine.
    pub(super) fn running(&self, watch: usize, number: usize) -> u64 {
        let Some(place) = self.programs(watch).and_then(|one| one.place(number)) else { return 0 };
        self.zone.sum(is_alive, |row| row.programs.get(place).map_or(0, |count| count.running()))
    }

    /// Asks for a command: chooses the program, and if something is to be done, does it.
    pub(super) fn ask_for(
        &mut self,
        watch: usize,
        command: Command,
        target: Target,
        cause: Cause,
    ) -> Asked {
        self.ask_when(watch, command, target, cause, None)
    }

    /// As `ask_for`; what is to be done is done once `checker` says yes.
    pub(super) fn ask_when(
        &mut self,
        watch: usize,
        command: Command,
        target: Target,
        cause: Cause,
        checker: Option<Checker>,
    ) -> Asked {
        let refused = |refusal| Asked { number: None, state: None, refusal: Some(refusal) };
        let Some(one) = self.watches.get(watch) else { return refused(Refusal::NoSuchProgram) };
        let (upstream, place, Some(programs)) = (one.cell, one.place, &one.programs) else {
            return refused(Refusal::NoSuchProgram);
        };
        let cooldown = programs.managed.rule.cooldown;
        if target.has_cooldown() && upstream.is_cooling(now(), cooldown) {
            return refused(Refusal::Cooldown);
        }
        let (words, interval) = (programs.words(), programs.managed.rule.load_interval);
        let is_told = self.told.is_some_and(|told| told.watch == watch);
        let is_scaling = target == Target::Load || (cause == Cause::Balancer && is_told);
        if is_scaling && !self.generation(interval).may_scale(command) {
            return refused(Refusal::Upgrade);
        }
        // What they wait for is no load yet.
        if is_scaling && command == Command::Stop && self.zone.held(is_alive, place) > 0 {
            return refused(Refusal::Waiting);
        }
        let number = match choose(command, target, &words) {
            Ok(number) => number,
            Err(refusal) => return refused(refusal),
        };
        let cell = self.programs(watch).and_then(|programs| programs.cell(number));
        let Some(cell) = cell else { return refused(Refusal::NoSuchProgram) };
        let is_accepted = self.begin_when(watch, number, command, cause, checker);
        let refusal = if is_accepted { None } else { Some(Refusal::AlreadySo) };
        Asked { number: Some(number), state: Some(cell.program().state()), refusal }
    }

    /// Begins a command on a program; `false`: there is nothing to do.
    pub(super) fn begin_command(
        &mut self,
        watch: usize,
        number: usize,
        command: Command,
        cause: Cause,
    ) -> bool {
        self.begin_when(watch, number, command, cause, None)
    }

    /// As `begin_command`, for a command that is carried out once `checker` says yes.
    fn begin_when(
        &mut self,
        watch: usize,
        number: usize,
        command: Command,
        cause: Cause,
        checker: Option<Checker>,
    ) -> bool {
        let Some(one) = self.watches.get(watch) else { return false };
        let upstream = one.cell;
        let Some(cell) = one.programs.as_ref().and_then(|programs| programs.cell(number)) else {
            return false;
        };
        // Also where there is nothing to stop: it is not to be started again.
        cell.set_restart_at(None);
        loop {
            let before = cell.program();
            let (after, is_turn) = match before.begin(command, cause) {
                Begin::Run(after) => (after, false),
                Begin::Turn(after) => (after, true),
                Begin::Nothing => return false,
            };
            if !cell.swap(before, after) {
                continue;
            }
            let note = upstream.set_last_command(now());
            self.note_command(watch, number, note);
            if is_turn {
                self.hasten(watch, number);
            } else {
                self.changed(watch, number, before, after);
                self.carry_out(watch, number, after, checker);
            }
            return true;
        }
    }

    /// Keeps what takes the note of an accepted command back, should it fail.
    fn note_command(&mut self, watch: usize, number: usize, note: Note) {
        let notes = self.programs_mut(watch).map(|programs| &mut programs.notes);
        if let Some(place) = notes.and_then(|notes| notes.get_mut(number)) {
            *place = Some(note);
        }
    }

    /// A request to a program has failed. nginx's own `max_fails` and `fail_timeout` say how often
    /// that may happen, counted over all workers here.
    pub(super) fn count_failure(&mut self, watch: usize, number: usize) {
        let Some(programs) = self.programs(watch) else { return };
        let Some(cell) = programs.cell(number) else { return };
        let Some(line) = programs.managed.lines.get(number) else { return };
        if cell.program().state() != State::Up {
            return;
        }
        let is_reached = cell.count_failure(now(), line.max_fails, line.fail_timeout);
        self.ask_after_failure(watch);
        if is_reached {
            self.on_failure(watch, number);
        }
    }

    /// A program has failed: too many requests, or its probes.
    pub(super) fn on_failure(&mut self, watch: usize, number: usize) {
        let Some(programs) = self.programs(watch) else { return };
        let policy = programs.managed.rule.on_failure;
        let is_up = programs.cell(number).map(|cell| cell.program().state()) == Some(State::Up);
        if policy != OnFailure::Ignore && is_up {
            self.begin_command(watch, number, Command::Stop, Cause::Failure);
        }
    }

    /// A program is down: if a failure did it and the policy is to restart, says when. `crashed`:
    /// supervisord reports that it has ended of its own accord.
    pub(super) fn plan_restart(
        &mut self,
        watch: usize,
        number: usize,
        program: Program,
        crashed: bool,
    ) {
        let Some(programs) = self.programs(watch) else { return };
        let by_failure = crashed || matches!(program.cause(), Cause::Failure | Cause::Restart);
        let Some(cell) = programs.cell(number) else { return };
        if !by_failure || programs.managed.rule.on_failure != OnFailure::Restart {
            return;
        }
        match program.restarted(now().saturating_sub(cell.up_since())) {
            Some((next, delay)) => {
                if cell.swap(program, next) {
                    cell.set_restart_at(Some(now().saturating_add(delay)));
                }
            }
            None => {
                cell.swap(program, program.rested());
                self.name_program(watch, number, |name, upstream| {
                    log!(
                        Level::Error,
                        "supervisord: program \"{name}\" of upstream \"{upstream}\" keeps failing \
                         and is not restarted any more; it stays down until somebody starts it or a \
                         request finds no other"
                    );
                });
            }
        }
    }

    /// Begins the restarts that are due.
    pub(super) fn restart_due(&mut self) {
        let now = now();
        for watch in 0..self.watches.len() {
            let count = self.programs(watch).map_or(0, Programs::count);
            for number in 0..count {
                let cell = self.programs(watch).and_then(|programs| programs.cell(number));
                let Some(cell) = cell else { continue };
                if cell.restart_at().is_some_and(|at| at <= now) {
                    cell.set_restart_at(None);
                    self.begin_command(watch, number, Command::Start, Cause::Restart);
                }
            }
        }
    }

    /// The round of starts that goes on: requests that were held in an earlier one wait in vain.
    pub(super) fn round(&self, watch: usize) -> Option<u64> {
        self.watches.get(watch).map(|one| one.cell.round())
    }

    /// Sees to it that a program of a watch comes up for requests that found none usable. Where none
    /// can, the round of starts ends.
    pub(super) fn start_for_requests(&mut self, watch: usize) {
        let Some(one) = self.watches.get(watch) else { return };
        let upstream = one.cell;
        let round = upstream.round();
        let (Some(programs), images) = (&one.programs, one.mirror.images()) else { return };
        if programs.managed.supervisord.is_none() || self.awaits_first_answer(watch) {
            return;
        }
        // Read before what is known of their peers: who starts one notes first that its peers are awaited.
        let words = programs.words();
        let awaited: Vec<u32> = images
            .iter()
            .filter(|image| image.slot.is_some_and(|slot| slot.health().is_awaited()))
            .filter_map(|image| image.line)
            .collect();
        let is_awaited = |number: usize| awaited.iter().any(|line| *line as usize == number);
        let is_left_alone = programs.managed.rule.on_failure == OnFailure::Ignore;
        // One that takes half of a request's patience to answer is not waited for alone.
        let patience = one.conf.hold.patience() / 2;
        let is_fresh = |cell: &ProgramCell| now().saturating_sub(cell.up_since()) < patience;
        let cells = programs.cells.iter().map(|(_, cell)| cell);
        let candidate =
            |(number, (cell, program)): (usize, (&&'static ProgramCell, Program))| Candidate {
                program,
                is_awaited: is_fresh(cell) && is_awaited(number),
                may_recover: is_left_alone || is_awaited(number),
                has_failed: cell.failed_round() == round,
            };
        let candidates: Vec<_> = cells.zip(words).enumerate().map(candidate).collect();
        // Another process has just made a peer usable, and is about to tell. Looked at after the words
        // above, so that none of them has come up unseen.
        if images.iter().any(Image::is_usable) {
            return self.sync(watch);
        }
        match for_request(&candidates) {
            Wanted::Wait => {}
            Wanted::Start(number) => {
                self.begin_command(watch, number, Command::Start, Cause::Request);
            }
            Wanted::Nothing => {
                upstream.end_round(round);
                // supervisord may have more to say by now: what it runs no more can be started.
                self.ask_after_failure(watch);
            }
        }
    }

    /// Whether the supervisord of a watch has just been asked for the first time which programs run.
    fn awaits_first_answer(&self, watch: usize) -> bool {
        let supervisord = self.programs(watch).and_then(|programs| programs.supervisord);
        let Some(one) = supervisord.and_then(|at| self.supervisords.get(at)) else { return false };
        let asked = one.cell.asked();
        !one.cell.has_answered() && asked != 0 && now().saturating_sub(asked) < FIRST_ANSWER
    }
}
