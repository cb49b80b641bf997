//! Flips of health: who is told, and what they mean for a program.

use core::sync::atomic::Ordering;

use healthcheck_core::health::Flip;
use healthcheck_core::outcome::Outcome;
use healthcheck_core::program::{Cause, State};
use healthcheck_core::supervision::OnFailure;
use healthcheck_core::supervisor::Command;
use healthcheck_core::Msec;

use super::peer::Phase;
use super::run::AWAITED_DELAY;
use super::Worker;
use crate::nginx::log::{debug, log, Level};
use crate::nginx::process::now;
use crate::zone::slot::Published;
use crate::zone::Slot;

/// How long a program that supervisord calls running may take until its first probe passes, ms.
const PATIENCE: Msec = 60_000;

impl Worker {
    /// Tells nginx and the log of a flip, of which the other processes know.
    pub(super) fn announce(
        &mut self,
        at: usize,
        number: usize,
        outcome: Outcome,
        flip: Flip,
        published: &Published,
    ) {
        let Some(watch) = self.watches.get(number) else { return };
        let name = self.peers.get(at).map_or(&[][..], |peer| &peer.name);
        let (level, state, what) = match flip {
            Flip::Down => (Level::Warn, "down", "failure"),
            Flip::Up => (Level::Notice, "up", "pass"),
        };
        let plural = match (published.run, flip) {
            (1, _) => "",
            (_, Flip::Down) => "s",
            (_, Flip::Up) => "es",
        };
        let (peer, upstream) = (name.escape_ascii(), watch.upstream.name().escape_ascii());
        let (code, sentence, run) = (outcome.code(), outcome.sentence(), published.run);
        let program = self.program_at(at);
        let program_state = program.map(|(watch, program)| {
            self.programs(watch).and_then(|one| one.cell(program)).map(|cell| cell.program())
        });
        match program_state.flatten() {
            Some(program) if program.state() != State::Up => debug!(
                "healthcheck: peer {peer} in upstream \"{upstream}\" is {state}, its program is {}: \
                 {code}: {sentence}",
                program.state().name()
            ),
            _ => log!(
                level,
                "healthcheck: peer {peer} in upstream \"{upstream}\" is {state}: {code}: {sentence}, \
                 {run} {what}{plural} in a row"
            ),
        }
        self.sync(number);
        if let Some((watch, program)) = program {
            self.on_flip(watch, program, flip);
        }
    }

    /// The program behind a peer: its watch and number.
    fn program_at(&self, at: usize) -> Option<(usize, usize)> {
        let peer = self.peers.get(at)?;
        self.programs(peer.watch)?;
        let image = self.watches.get(peer.watch)?.mirror.image(peer.address.bytes())?;
        Some((peer.watch, usize::try_from(image.line?).ok()?))
    }

    /// What a flip means for the program: a sick one is stopped, one that was stopped because it was
    /// sick is started when its probes pass again.
    fn on_flip(&mut self, watch: usize, number: usize, flip: Flip) {
        let Some(programs) = self.programs(watch) else { return };
        let Some(program) = programs.cell(number).map(|cell| cell.program()) else { return };
        match (flip, program.state()) {
            (Flip::Down, State::Up) => self.on_failure(watch, number),
            (Flip::Up, State::Down)
                if program.cause() == Cause::Failure
                    && programs.managed.rule.on_failure != OnFailure::Ignore =>
            {
                self.begin_command(watch, number, Command::Start, Cause::Recovery);
            }
            _ => {}
        }
    }

    /// A peer whose program was started has failed one more probe before its first pass: after a
    /// minute that is a failure of the program.
    pub(super) fn lose_patience(&mut self, at: usize, number: usize) {
        let Some((watch, program)) = self.program_at(at) else { return };
        let Some(cell) = self.programs(watch).and_then(|one| one.cell(program)) else { return };
        if now().saturating_sub(cell.up_since()) < PATIENCE {
            return;
        }
        let Some((slot, _)) = self.held(at) else { return };
        slot.give_up();
        let Some(watched) = self.watches.get(number) else { return };
        watched.generation.fetch_add(1, Ordering::Release);
        // The requests that wait for it are to have another one.
        cell.set_failed_round(watched.cell.round());
        self.on_failure(watch, program);
    }

    /// A program is about to be made up: its peers are down until their first pass, whatever was
    /// known of the process before.
    pub(super) fn await_peers(&self, watch: usize, number: usize) {
        let Some(one) = self.watches.get(watch) else { return };
        // Without a supervisord nothing is started: probes have gone on, and their verdict holds.
        let is_real =
            one.programs.as_ref().is_some_and(|programs| programs.managed.supervisord.is_some());
        // Nor where nobody probes any more.
        if !is_real || self.zone.is_superseded() {
            return;
        }
        let is_its = |line: Option<u32>| line.is_some_and(|line| line as usize == number);
        for image in one.mirror.images().iter().filter(|image| is_its(image.line)) {
            if let Some(slot) = image.slot {
                slot.await_pass();
            }
        }
    }

    /// Probes the awaited peers of a program now.
    pub(super) fn probe_awaited(&mut self, watch: usize, number: usize) {
        for at in 0..self.peers.len() {
            let is_awaited = self
                .peers
                .get(at)
                .filter(|peer| peer.watch == watch && !matches!(peer.phase, Phase::Gone))
                .and_then(|peer| self.slot(peer))
                .is_some_and(|slot| slot.health().is_awaited());
            if is_awaited && self.program_at(at) == Some((watch, number)) {
                self.probe_now(at);
            }
        }
    }

    /// Probes a peer now, or right after the probe that is in flight, whoever has its lease.
    fn probe_now(&mut self, at: usize) {
        let Some(slot) = self.peers.get(at).and_then(|peer| self.slot(peer)) else { return };
        let lease = slot.lease();
        if !slot.ask_again() {
            self.probe_out_of_turn(at, lease, now());
        }
    }

    /// Probes awaited peers now that this process holds: they may have been started by one that no
    /// longer probes.
    pub(super) fn probe_all_awaited(&mut self) {
        for at in 0..self.peers.len() {
            let is_late = matches!(
                self.peers.get(at).map(|peer| &peer.phase),
                Some(Phase::Waiting(due)) if *due > now().saturating_add(AWAITED_DELAY)
            );
            let is_awaited = |slot: &Slot| slot.health().is_awaited();
            if is_late && self.held(at).is_some_and(|(slot, _)| is_awaited(slot)) {
                self.probe_now(at);
            }
        }
    }
}
