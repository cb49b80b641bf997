//! What balancers ask for and are asked: commands, and whether they may be carried out by now.
//!
//! Their functions call back into this module, so they are called while nothing of the process is
//! borrowed.

use healthcheck_core::ending::Ending;
use healthcheck_core::program::Cause;
use healthcheck_core::programs::{Asked, Refusal, Target};
use healthcheck_core::supervisor::Command;
use healthcheck_core::Msec;

use super::commands::{Errand, Stage};
use super::life::is_idle;
use super::tasks::Work;
use super::{loads, monitors, with_worker, Worker};
use crate::nginx::callbacks::Checker;
use crate::nginx::process::{is_exiting, now};
use crate::nginx::upstream::Upstream;

/// How often a balancer is asked whether a command may be carried out by now.
pub(super) const CHECK_EVERY: Msec = 500;

/// How long a command waits for its balancer's yes; then it is carried out all the same.
pub(super) const CHECK_LIMIT: Msec = 60_000;

/// What became of a balancer's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Executed {
    /// Accepted, or there is nothing to do.
    Yes,
    /// There is no such program.
    NoSuchProgram,
    /// The upstream is not managed.
    NotManaged,
    /// This process cannot carry it out.
    Unable,
}

/// A balancer that is about to be asked.
struct Inquiry {
    /// What to ask.
    checker: Checker,
    /// About which upstream.
    upstream: Upstream,
    /// Its place among the worker's watches.
    watch: usize,
    /// Which of its programs.
    number: usize,
    /// The command, by task.
    token: usize,
    /// The epoch of the command. The task may be another one's afterwards.
    epoch: u64,
}

/// Carries out a command of an upstream's balancer, once `checker` says yes.
pub(crate) fn execute(
    upstream: Upstream,
    command: Command,
    number: Option<usize>,
    checker: Option<Checker>,
) -> Executed {
    let target = number.map_or(Target::Load, Target::Number);
    let asked = with_worker(|worker| worker.execute(upstream, command, target, checker));
    let asked = match asked {
        Some(Some(asked)) => asked,
        Some(None) => return Executed::NotManaged,
        None if is_idle() => return Executed::NotManaged,
        None => return Executed::Unable,
    };
    if asked.refusal == Some(Refusal::NoSuchProgram) {
        return Executed::NoSuchProgram;
    }
    if checker.is_some() && asked.refusal.is_none() {
        let inquiry = with_worker(|worker| worker.inquiry_about(upstream, asked.number?)).flatten();
        if let Some(inquiry) = inquiry {
            ask(&inquiry);
        }
    }
    with_worker(Worker::arm);
    Executed::Yes
}

/// Tells and asks balancers what there is to tell and to ask.
pub(super) fn make() {
    if with_worker(|worker| core::mem::take(&mut worker.has_calls)) != Some(true) {
        return;
    }
    while let Some(inquiry) = with_worker(Worker::next_inquiry).flatten() {
        ask(&inquiry);
    }
    let count = with_worker(|worker| worker.watches.len()).unwrap_or(0);
    for watch in 0..count {
        monitors::tell_watch(watch);
        loads::report(watch);
    }
}

/// Asks a balancer, and goes on with the command as it says.
fn ask(inquiry: &Inquiry) {
    let is_allowed = inquiry.checker.allows(inquiry.upstream, inquiry.number);
    with_worker(|worker| worker.on_answer(inquiry, is_allowed));
}

impl Worker {
    /// Begins a command of an upstream's balancer; `None` where no programs are managed.
    fn execute(
        &mut self,
        upstream: Upstream,
        command: Command,
        target: Target,
        checker: Option<Checker>,
    ) -> Option<Asked> {
        let watch = self.watches.iter().position(|watch| watch.upstream == upstream)?;
        // Every worker's balancer is told the same load, and gives the same command.
        let answer = self.told.filter(|told| told.watch == watch && target == Target::Load);
        let one = self.watches.get(watch)?;
        one.programs.as_ref()?;
        let cell = one.cell;
        if answer.is_some_and(|told| !cell.answer_load(told.number)) {
            let refusal = Some(Refusal::Cooldown);
            return Some(Asked { number: None, state: None, refusal });
        }
        let asked = self.ask_when(watch, command, target, Cause::Balancer, checker);
        if let (Some(told), true) = (answer, asked.refusal.is_some()) {
            cell.forget_answer(told.number);
        }
        Some(asked)
    }

    /// A command waits for its balancer's yes: it is asked, unless the command is no longer wanted or
    /// has waited long enough.
    pub(super) fn want_answer(&mut self, token: usize, until: Msec) {
        if self.is_withdrawn(token) {
            return;
        }
        // A process that is to end waits for running requests all the same, if it is a stop.
        if now() >= until || is_exiting() {
            return self.go(token);
        }
        if let Some(task) = self.tasks.get_mut(token) {
            task.wake = Some(now().saturating_add(CHECK_EVERY).min(until));
        }
        self.inquiries.push(token);
        self.has_calls = true;
    }

    /// The next balancer to ask.
    fn next_inquiry(&mut self) -> Option<Inquiry> {
        loop {
            let token = self.inquiries.pop()?;
            if let Some(inquiry) = self.inquiry(token) {
                return Some(inquiry);
            }
        }
    }

    /// The question about a command that waits for its answer.
    fn inquiry(&mut self, token: usize) -> Option<Inquiry> {
        let Work::Command(errand) = self.tasks.get_mut(token)?.work else { return None };
        let Stage::Checking(checker, _) = errand.stage else { return None };
        let upstream = self.watches.get(errand.watch)?.upstream;
        let Errand { watch, number, epoch, .. } = errand;
        Some(Inquiry { checker, upstream, watch, number, token, epoch })
    }

    /// The question about the command on a program of an upstream, where one waits for its answer.
    fn inquiry_about(&mut self, upstream: Upstream, number: usize) -> Option<Inquiry> {
        let watch = self.watches.iter().position(|watch| watch.upstream == upstream)?;
        let token = self.tasks.of_program(watch, number)?;
        self.inquiry(token)
    }

    /// A balancer has said whether a command may be carried out.
    fn on_answer(&mut self, inquiry: &Inquiry, is_allowed: bool) {
        let Some(task) = self.tasks.get_mut(inquiry.token) else { return };
        let Work::Command(errand) = task.work else { return };
        let Stage::Checking(_, until) = errand.stage else { return };
        let is_it = (errand.watch, errand.number, errand.epoch)
            == (inquiry.watch, inquiry.number, inquiry.epoch);
        if !is_it {
            return;
        }
        if is_allowed {
            return self.go(inquiry.token);
        }
        task.wake = Some(now().saturating_add(CHECK_EVERY).min(until));
    }

    /// Whether a command is no longer wanted that was not sent yet: another process has taken it over,
    /// or the opposite was asked for.
    pub(super) fn is_withdrawn(&mut self, token: usize) -> bool {
        let Some(errand) = self.errand(token).copied() else { return true };
        let Some(cell) = self.programs(errand.watch).and_then(|one| one.cell(errand.number)) else {
            return true;
        };
        let program = cell.program();
        if program.epoch() != errand.epoch {
            self.tasks.take(token);
            return true;
        }
        let Some(spared) = program.spared() else { return false };
        if cell.swap(program, spared) {
            self.tasks.take(token);
            let opposite = match program.command() {
                Some(Command::Start) => Command::Stop,
                _ => Command::Start,
            };
            cell.set_last_command(opposite, Ending::Already.to_bits(), None);
            self.changed(errand.watch, errand.number, program, spared);
        } else if let Some(task) = self.tasks.get_mut(token) {
            task.wake = Some(now());
        }
        true
    }
}
