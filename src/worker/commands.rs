//! Commands on their way: waiting for running requests, calling supervisord, and what follows.

use std::sync::Arc;

use healthcheck_core::ending::Ending;
use healthcheck_core::lease::Lease;
use healthcheck_core::program::{Program, State};
use healthcheck_core::schedule::TICK;
use healthcheck_core::supervisor::{
    command_request, command_result, info_request, info_result, max_response, Accepted, Call,
    CallError, Command, ProcessInfo, ProcessState,
};
use healthcheck_core::Msec;

use super::calls::{CHECK_EVERY, CHECK_LIMIT};
use super::tasks::Work;
use super::Worker;
use crate::conf::supervisord::Supervisord;
use crate::nginx::callbacks::Checker;
use crate::nginx::log::{debug, log, Level};
use crate::nginx::process::{is_alive, now, wall_clock_ms};

/// How often running requests are counted while a stop waits for them.
const DRAIN_EVERY: Msec = 2 * TICK;

/// How often supervisord is asked whether a program that it was starting already has come up.
const CONFIRM_EVERY: Msec = 100;

/// A command that this process carries out.
#[derive(Clone, Copy)]
pub(super) struct Errand {
    /// Its upstream, by place among the worker's watches.
    pub(super) watch: usize,
    /// The program's number.
    pub(super) number: usize,
    /// What to do.
    command: Command,
    /// The epoch under which the result is written.
    pub(super) epoch: u64,
    /// How far it is.
    pub(super) stage: Stage,
    /// When it fails at the latest.
    until: Msec,
}

impl Errand {
    /// Whether it is a stop.
    pub(super) fn is_stop(self) -> bool {
        self.command == Command::Stop
    }
}

/// How far a command is.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    /// Its balancer has to say yes first, until this time.
    Checking(Checker, Msec),
    /// A stop waits for running requests, until this time.
    Draining(Msec),
    /// supervisord is called.
    Calling,
    /// supervisord was starting the program already; it is asked for the state.
    Confirming,
}

/// Why a command failed: for the log, and for the page.
struct Failure {
    /// The sentence.
    text: String,
    /// The word.
    ending: Ending,
    /// Whether it concerns the one program, so that another one may succeed.
    is_of_program: bool,
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        let (ending, is_of_program) = (Ending::from(&error), error.is_of_program());
        Failure { text: error.to_string(), ending, is_of_program }
    }
}

impl Worker {
    /// Carries out a command that has been accepted under the epoch of `program`, once `checker` says
    /// yes; whoever has accepted it asks.
    pub(super) fn carry_out(
        &mut self,
        watch: usize,
        number: usize,
        program: Program,
        checker: Option<Checker>,
    ) {
        let (Some(command), now) = (program.command(), now()) else { return };
        let Some(programs) = self.programs(watch) else { return };
        let (managed, cell) = (Arc::clone(&programs.managed), programs.cell(number));
        let Some(cell) = cell else { return };
        let check = checker.map_or(0, |_| CHECK_LIMIT);
        let drain = match command {
            Command::Stop => managed.rule.drain,
            Command::Start => 0,
        };
        let checked = now.saturating_add(check);
        let until = checked.saturating_add(drain).saturating_add(managed.command_limit());
        cell.set_owner(Lease::held(self.pid, until));
        cell.set_last_command(command, Ending::UnderWay.to_bits(), Some(wall_clock_ms()));
        let epoch = program.epoch();
        let stage = checker.map_or(Stage::Calling, |checker| Stage::Checking(checker, checked));
        let errand = Errand { watch, number, command, epoch, stage, until };
        let wake = checker.map(|_| now.saturating_add(CHECK_EVERY));
        let token = self.tasks.add(Work::Command(errand), wake);
        if checker.is_none() {
            self.go(token);
        }
    }

    /// Goes on with a command that waits for nobody's yes any more.
    pub(super) fn go(&mut self, token: usize) {
        let Some(errand) = self.errand(token).copied() else { return };
        let Some(programs) = self.programs(errand.watch) else { return };
        let (is_called, drain) =
            (programs.managed.supervisord.is_some(), programs.managed.rule.drain);
        if !is_called {
            self.tasks.take(token);
            return self.succeed(errand, Ending::Done);
        }
        let Some(task) = self.tasks.get_mut(token) else { return };
        // A worker may be about to count a request that it has just given to the program.
        task.wake = Some(now() + TICK);
        match errand.command {
            Command::Stop => self.set_stage(token, Stage::Draining(now().saturating_add(drain))),
            Command::Start => {
                self.set_stage(token, Stage::Calling);
                self.send_command(token);
            }
        }
    }

    /// Notes how far a command is.
    fn set_stage(&mut self, token: usize, stage: Stage) {
        if let Some(errand) = self.errand(token) {
            errand.stage = stage;
        }
    }

    /// The opposite of the command under way on a program was asked for: one that waits for its
    /// balancer's yes is no longer wanted.
    pub(super) fn hasten(&mut self, watch: usize, number: usize) {
        let Some(token) = self.tasks.of_program(watch, number) else { return };
        let is_waiting =
            matches!(self.errand(token).map(|errand| errand.stage), Some(Stage::Checking(..)));
        if let Some(task) = self.tasks.get_mut(token).filter(|_| is_waiting) {
            task.wake = Some(now());
        }
    }

    /// The command of a task.
    pub(super) fn errand(&mut self, token: usize) -> Option<&mut Errand> {
        match &mut self.tasks.get_mut(token)?.work {
            Work::Command(errand) => Some(errand),
            Work::Poll(_) => None,
        }
    }

    /// Whom to call for a command, and what the program is called there.
    fn addressee(&self, errand: Errand) -> Option<(Arc<Supervisord>, Box<[u8]>)> {
        let managed = &self.programs(errand.watch)?.managed;
        let supervisord = Arc::clone(managed.supervisord.as_ref()?);
        Some((supervisord, managed.rule.program_name(errand.number)))
    }

    /// A task without a call wants attention.
    pub(super) fn on_wake(&mut self, token: usize) {
        let Some(errand) = self.errand(token).copied() else { return };
        match errand.stage {
            Stage::Checking(_, until) => self.want_answer(token, until),
            Stage::Draining(until) => self.drain(token, errand, until),
            Stage::Calling => self.send_command(token),
            Stage::Confirming => self.ask_for_one(token),
        }
    }

    /// A stop waits: is it still wanted, are requests still running?
    fn drain(&mut self, token: usize, errand: Errand, until: Msec) {
        if self.is_withdrawn(token) {
            return;
        }
        let now = now();
        let is_running =
            self.running(errand.watch, errand.number) > 0 || self.zone.misses_counts(is_alive);
        if now < until && is_running {
            if let Some(task) = self.tasks.get_mut(token) {
                task.wake = Some((now + DRAIN_EVERY).min(until));
            }
            return;
        }
        self.set_stage(token, Stage::Calling);
        self.send_command(token);
    }

    /// Tells supervisord.
    fn send_command(&mut self, token: usize) {
        let Some(errand) = self.errand(token).copied() else { return };
        let Some((supervisord, name)) = self.addressee(errand) else { return };
        let Some(limits) = self.programs(errand.watch).map(|one| one.managed.rule.limits) else {
            return;
        };
        let request = command_request(errand.command, &name, supervisord.credentials.as_deref());
        debug!(
            "supervisord: {} of {} is sent to {}",
            errand.command.method(),
            name.escape_ascii(),
            supervisord.label.escape_ascii()
        );
        self.call(token, &supervisord, Call::new(request, max_response(1), limits));
    }

    /// Asks supervisord whether a program that it was starting already has come up.
    fn ask_for_one(&mut self, token: usize) {
        let Some(errand) = self.errand(token).copied() else { return };
        let Some((supervisord, name)) = self.addressee(errand) else { return };
        let Some(limits) = self.programs(errand.watch).map(|one| one.managed.rule.limits) else {
            return;
        };
        let request = info_request(&[name], supervisord.credentials.as_deref());
        self.call(token, &supervisord, Call::new(request, max_response(1), limits));
    }

    /// supervisord has answered a command's call, or has not.
    pub(super) fn on_command_reply(&mut self, token: usize, response: Result<Vec<u8>, CallError>) {
        let Some(errand) = self.errand(token).copied() else { return };
        if let Stage::Confirming = errand.stage {
            return self.on_confirmation(token, errand, response);
        }
        let result = response.and_then(|response| command_result(errand.command, &response));
        match (result, errand.command) {
            (Ok(Accepted::Already), Command::Start) => {
                self.set_stage(token, Stage::Confirming);
                self.ask_for_one(token);
            }
            (Ok(accepted), _) => {
                self.tasks.take(token);
                let ending = match accepted {
                    Accepted::Done => Ending::Done,
                    Accepted::Already => Ending::Already,
                };
                self.succeed(errand, ending);
            }
            (Err(error), _) => {
                let refusal = self.tasks.take(token).and_then(|task| task.refusal);
                let mut failure = Failure::from(error);
                // Most often the worker's user may not write to supervisord's socket.
                if let (Ending::NoConnection, Some(refusal)) = (failure.ending, refusal) {
                    failure.text = format!("{} ({refusal})", failure.text);
                }
                self.fail(errand, failure);
            }
        }
    }

    /// supervisord has said how a program is that it was starting already.
    fn on_confirmation(
        &mut self,
        token: usize,
        errand: Errand,
        response: Result<Vec<u8>, CallError>,
    ) {
        let answer = response.and_then(|response| info_result(1, &response));
        let info: Option<ProcessInfo> =
            answer.ok().and_then(|all| all.into_iter().next()).and_then(Result::ok);
        let cell = self.programs(errand.watch).and_then(|one| one.cell(errand.number));
        if let (Some(info), Some(cell)) = (info, cell) {
            cell.set_reported(Some((info.state, info.pid)));
        }
        match info.map(|info| info.state) {
            Some(ProcessState::Starting | ProcessState::Backoff) if now() < errand.until => {
                if let Some(task) = self.tasks.get_mut(token) {
                    task.wake = Some(now() + CONFIRM_EVERY);
                }
            }
            // "Already started" is a success, whatever else supervisord has to say.
            Some(ProcessState::Running) | None => {
                self.tasks.take(token);
                self.succeed(errand, Ending::Already);
            }
            Some(state) => {
                self.tasks.take(token);
                let text = format!("supervisord reports {}", state.name());
                let ending = Ending::NotRunning;
                self.fail(errand, Failure { text, ending, is_of_program: true });
            }
        }
    }

    /// A command has succeeded.
    fn succeed(&mut self, errand: Errand, ending: Ending) {
        self.finish_command(errand, Ok(()), ending);
    }

    /// A command has failed.
    fn fail(&mut self, errand: Errand, failure: Failure) {
        let Failure { text, ending, is_of_program } = failure;
        if !self.is_ours(errand) {
            return;
        }
        let is_news = self
            .programs_mut(errand.watch)
            .is_some_and(|programs| programs.is_news(errand.number, ending));
        if is_news {
            self.name_program(errand.watch, errand.number, |name, upstream| {
                let verb = errand.command.verb();
                log!(
                    Level::Error,
                    "supervisord: could not {verb} \"{name}\" of upstream \"{upstream}\": {text}"
                );
            });
        }
        self.finish_command(errand, Err(is_of_program), ending);
    }

    /// Whether a command's result is still this process's to write: another worker may have taken it
    /// over, or supervisord may have reported what it was for.
    fn is_ours(&self, errand: Errand) -> bool {
        let cell = self.programs(errand.watch).and_then(|programs| programs.cell(errand.number));
        let is_ours = cell.is_some_and(|cell| cell.program().epoch() == errand.epoch);
        if !is_ours {
            debug!("supervisord: the result of a command is another worker's to write");
        }
        is_ours
    }

    /// Writes a command's result; `Err` says whether the failure concerns the program alone.
    fn finish_command(&mut self, errand: Errand, result: Result<(), bool>, ending: Ending) {
        let Errand { watch, number, command, epoch, .. } = errand;
        let Some(programs) = self.programs(watch) else { return };
        let Some(cell) = programs.cell(number) else { return };
        let Some(upstream) = self.watches.get(watch).map(|watch| watch.cell) else { return };
        if !self.is_ours(errand) {
            return;
        }
        // Before the state: who sees the program down must see that it has been tried, or that the
        // round is over.
        match (command, result) {
            (Command::Start, Ok(())) => {
                self.await_peers(watch, number);
                // Those that failed are tried again the next time that none is usable.
                programs.forget_failed_starts();
            }
            (Command::Start, Err(is_of_program)) => {
                let round = upstream.round();
                cell.set_failed_round(round);
                // supervisord itself is in trouble: the next program would fare no better.
                if !is_of_program {
                    upstream.end_round(round);
                }
            }
            (Command::Stop, _) => {}
        }
        let (before, ended) = loop {
            let before = cell.program();
            let Some(ended) = before.ended(result.is_ok()) else { return };
            if before.epoch() != epoch {
                return;
            }
            if cell.swap(before, ended.program) {
                break (before, ended);
            }
        };
        cell.set_last_command(command, ending.to_bits(), None);
        let note = self
            .programs_mut(watch)
            .and_then(|programs| programs.notes.get_mut(number))
            .and_then(Option::take);
        if let (Ok(()), Some(programs)) = (result, self.programs_mut(watch)) {
            programs.forget_complaint(number);
        }
        // Whoever asks for another one meanwhile need not wait for a command that came to nothing.
        if let (Err(_), Some(note)) = (result, note) {
            upstream.forget_command(note);
        }
        self.changed(watch, number, before, ended.program);
        // What a failed start has left behind is less urgent: each request may try one.
        match result {
            Ok(()) => self.ask_soon(watch, 0),
            Err(_) => self.ask_after_failure(watch),
        }
        if ended.next.is_some() {
            return self.carry_out(watch, number, ended.program, None);
        }
        if ended.program.state() == State::Down {
            self.plan_restart(watch, number, ended.program, false);
        }
    }
}
