//! Which of an upstream's programs a command is for: by number, `any`, for a request, by load.
//!
//! It looks at all programs of one upstream at once; what a command does to one of them is decided
//! in [`crate::program`].

use crate::program::{Program, State};
use crate::supervisor::Command;
use crate::Msec;

/// Which program a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one with this number.
    Number(usize),
    /// The lowest one that it fits (`any` of the pages).
    Any,
    /// By load: start the lowest that the configuration does not mark `down`, stop the highest.
    Load,
}

/// Why a command changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The last accepted command was less than the cooldown ago.
    Cooldown,
    /// A program is starting already.
    Starting,
    /// A program is stopping already.
    Stopping,
    /// It is, or all are, what was asked for.
    AlreadySo,
    /// There is no program with this number.
    NoSuchProgram,
    /// The binary is being upgraded: this nginx, or this nginx alone, does not see all of the load.
    Upgrade,
    /// Requests wait for a usable peer; a lack of load stops none meanwhile.
    Waiting,
}

impl Refusal {
    /// What the page says.
    pub fn sentence(self) -> &'static str {
        match self {
            Refusal::Cooldown => "the last command was accepted less than supervisord_cooldown ago",
            Refusal::Starting => "a program is already being started",
            Refusal::Stopping => "a program is already being stopped",
            Refusal::AlreadySo => "nothing to do",
            Refusal::NoSuchProgram => "no such program",
            Refusal::Upgrade => "the binary is being upgraded",
            Refusal::Waiting => "requests wait for a program",
        }
    }
}

/// Which nginx a process belongs to while the binary is upgraded: two of them serve then, each of which
/// counts the requests that it gets and knows nothing of the other's commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// There is no other.
    Only,
    /// The one that is to go.
    Older,
    /// The one that is to stay.
    Newer,
}

impl Generation {
    /// Whether load may have this done. The newer one scales alone; it takes a part of the requests for
    /// all of them as long as the older one may serve the rest, so that too few are no reason to stop.
    pub fn may_scale(self, command: Command) -> bool {
        match (self, command) {
            (Generation::Only, _) | (Generation::Newer, Command::Start) => true,
            (Generation::Older, _) | (Generation::Newer, Command::Stop) => false,
        }
    }
}

/// What became of a command that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The program that it is for; `None`: none was chosen.
    pub number: Option<usize>,
    /// The program's state now.
    pub state: Option<State>,
    /// Why nothing changes; `None`: it was accepted.
    pub refusal: Option<Refusal>,
}

/// The word of the time of the last accepted command: 0 = none yet, else the time plus 1, so that
/// the first seconds after the machine's boot are no cooldown.
pub fn command_time(now: Msec) -> u64 {
    now.saturating_add(1)
}

/// Whether a command that is subject to the cooldown has to be refused at `now`; `last` is what
/// [`command_time`] gave for the last accepted one.
pub fn is_cooling(last: u64, now: Msec, cooldown: Msec) -> bool {
    last.checked_sub(1).is_some_and(|last| now.saturating_sub(last) < cooldown)
}

/// The program that a command for `target` is for, out of all of an upstream's in the order of
/// their numbers. The cooldown is the caller's to test, see [`Target::has_cooldown`].
///
/// # Errors
/// [`Refusal`]: why none is.
pub fn choose(command: Command, target: Target, programs: &[Program]) -> Result<usize, Refusal> {
    let (under_way, busy, from) = match command {
        Command::Start => (State::Starting, Refusal::Starting, State::Down),
        Command::Stop => (State::Stopping, Refusal::Stopping, State::Up),
    };
    let fits = |program: &Program| match (command, target) {
        (Command::Start, Target::Load) => program.state() == from && !program.is_configured_down(),
        // One that is up but marked `down` gets no requests: to start it means to use it.
        (Command::Start, _) => program.state() == from || program.is_admin_down(),
        (Command::Stop, _) => program.state() == from,
    };
    match target {
        Target::Number(number) => {
            programs.get(number).map(|_| number).ok_or(Refusal::NoSuchProgram)
        }
        // As the original: what stands behind the first fit is not looked at.
        Target::Any => {
            let first = |program: &Program| program.state() == under_way || fits(program);
            match programs.iter().position(first) {
                Some(at) if programs.get(at).map(|one| one.state()) == Some(under_way) => Err(busy),
                Some(at) => Ok(at),
                None => Err(Refusal::AlreadySo),
            }
        }
        Target::Load => {
            if programs.iter().any(|program| program.state() == under_way) {
                return Err(busy);
            }
            let at = match command {
                Command::Start => programs.iter().position(fits),
                Command::Stop => programs.iter().rposition(fits),
            };
            at.ok_or(Refusal::AlreadySo)
        }
    }
}

impl Target {
    /// Whether commands for it are refused during the cooldown after any accepted command.
    pub fn has_cooldown(self) -> bool {
        !matches!(self, Target::Number(_))
    }
}

/// One program, as a request that found none usable looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its word.
    pub program: Program,
    /// It came up a moment ago, and its first probe has not passed yet.
    pub is_awaited: bool,
    /// If it is up and not usable: whether only its probes can change that. Otherwise a failure would
    /// have had it stopped, and that must have failed.
    pub may_recover: bool,
    /// Its start has failed since the request came.
    pub has_failed: bool,
}

/// What a request that found no usable program waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A program that is on its way: started, stopped to be started again, or about to be probed.
    Wait,
    /// This program has to be started.
    Start(usize),
    /// None can be started.
    Nothing,
}

/// What to do for a request that found no usable program: the lowest that the configuration does not
/// mark `down` is started, unless one is on its way.
pub fn for_request(candidates: &[Candidate]) -> Wanted {
    let on_its_way = |one: &Candidate| match one.program.state() {
        State::Starting => true,
        State::Up => one.is_awaited && !one.program.is_admin_down(),
        State::Stopping => one.program.is_turning(),
        State::Down => false,
    };
    if candidates.iter().any(on_its_way) {
        return Wanted::Wait;
    }
    let may_start = |one: &Candidate| !one.program.is_configured_down() && !one.has_failed;
    let is_down = |one: &Candidate| may_start(one) && one.program.state() == State::Down;
    if let Some(number) = candidates.iter().position(is_down) {
        return Wanted::Start(number);
    }
    // Once it has stopped it can be started.
    let stops = |one: &Candidate| may_start(one) && one.program.state() == State::Stopping;
    // One that runs and is not usable may become so: its probes go on.
    let runs = |one: &Candidate| {
        one.program.state() == State::Up && one.may_recover && !one.program.is_admin_down()
    };
    if candidates.iter().any(|one| stops(one) || runs(one)) {
        Wanted::Wait
    } else {
        Wanted::Nothing
    }
}

/// Loads are kept in hundredths of a request per second and active program, as the original's API
/// gives them.
pub const LOAD_MULTIPLIER: u64 = 100;

/// How an upstream scales by load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadRule {
    /// Requests per second and active program above which one more is started; 1 or more.
    pub threshold: u64,
    /// No program is stopped for lack of load while so many or fewer are active; default 0.
    pub min_servers: usize,
}

/// What happened in one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadReport {
    /// Requests that began, over all workers.
    pub requests: u64,
    /// The interval's length, ms; not 0.
    pub interval: Msec,
    /// Programs that are up.
    pub active: usize,
    /// All programs.
    pub programs: usize,
}

impl LoadReport {
    /// Hundredths of a request per second and active program; 0 without active ones.
    pub fn load(&self) -> u64 {
        let active = u64::try_from(self.active).unwrap_or(u64::MAX);
        let per_second = self.requests.saturating_mul(LOAD_MULTIPLIER).saturating_mul(1_000);
        per_second.checked_div(self.interval.saturating_mul(active)).unwrap_or(0)
    }

    /// What the load asks for, if anything: the rules of ngx_supervisord's patch for upstream_fair,
    /// the first that fits.
    pub fn wants(&self, rule: LoadRule) -> Option<Command> {
        let full = rule.threshold.saturating_mul(LOAD_MULTIPLIER);
        let load = self.load();
        if load > full && self.active < self.programs {
            return Some(Command::Start);
        }
        if self.active <= rule.min_servers {
            return None;
        }
        let is_idle = self.requests == 0 && self.active > 0;
        let is_low = load < full.saturating_mul(2) / 5 && self.active > 1;
        (is_idle || is_low).then_some(Command::Stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Begin, Cause};
    use State::{Down, Starting, Stopping, Up};

    const RULE: LoadRule = LoadRule { threshold: 100, min_servers: 0 };

    #[test]
    fn of_two_generations_the_newer_one_starts_and_none_stops() {
        let may = |generation: Generation| {
            [Command::Start, Command::Stop].map(|command| generation.may_scale(command))
        };
        assert_eq!(may(Generation::Only), [true, true]);
        assert_eq!(may(Generation::Older), [false, false]);
        assert_eq!(may(Generation::Newer), [true, false]);
    }

    fn program(state: State) -> Program {
        let begun = |program: Program, command| match program.begin(command, Cause::Url) {
            Begin::Run(program) => program,
            other => panic!("{other:?}"),
        };
        let (up, down) = (Program::initial(false, true), Program::initial(false, false));
        match state {
            Up => up,
            Down => down,
            Starting => begun(down, Command::Start),
            Stopping => begun(up, Command::Stop),
        }
    }

    fn programs(states: &[State]) -> Vec<Program> {
        states.iter().map(|state| program(*state)).collect()
    }

    #[test]
    fn any_takes_the_lowest_that_fits() {
        let any = |command, states: &[State]| choose(command, Target::Any, &programs(states));
        assert_eq!(any(Command::Start, &[Up, Down, Down]), Ok(1));
        assert_eq!(any(Command::Stop, &[Down, Up, Up]), Ok(1));
        assert_eq!(any(Command::Start, &[Up, Up]), Err(Refusal::AlreadySo));
        assert_eq!(any(Command::Stop, &[Down]), Err(Refusal::AlreadySo));
    }

    #[test]
    fn any_does_nothing_while_one_below_the_first_fit_is_on_its_way() {
        let any = |command, states: &[State]| choose(command, Target::Any, &programs(states));
        assert_eq!(any(Command::Start, &[Starting, Down]), Err(Refusal::Starting));
        assert_eq!(any(Command::Stop, &[Stopping, Up]), Err(Refusal::Stopping));
        assert_eq!(any(Command::Start, &[Down, Starting]), Ok(0));
    }

    #[test]
    fn a_number_must_exist() {
        let states = programs(&[Up, Down]);
        assert_eq!(choose(Command::Stop, Target::Number(1), &states), Ok(1));
        assert_eq!(choose(Command::Stop, Target::Number(2), &states), Err(Refusal::NoSuchProgram));
    }

    #[test]
    fn load_stops_the_highest_and_starts_the_lowest_that_is_not_marked_down() {
        let states = programs(&[Up, Up, Down]);
        assert_eq!(choose(Command::Stop, Target::Load, &states), Ok(1));
        let marked = [program(Up), Program::initial(true, false), program(Down)];
        assert_eq!(choose(Command::Start, Target::Load, &marked), Ok(2));
        assert_eq!(choose(Command::Start, Target::Any, &marked), Ok(1));
    }

    #[test]
    fn the_cooldown_is_thirty_seconds_from_the_last_command_and_never_from_boot() {
        assert!(!is_cooling(0, 5, 30_000));
        let last = command_time(1_000);
        assert!(is_cooling(last, 1_000, 30_000) && is_cooling(last, 30_999, 30_000));
        assert!(!is_cooling(last, 31_000, 30_000));
        assert!(is_cooling(command_time(0), 10, 30_000));
    }

    fn candidates(states: &[State]) -> Vec<Candidate> {
        let candidate = |program| Candidate {
            program,
            is_awaited: false,
            may_recover: true,
            has_failed: false,
        };
        programs(states).into_iter().map(candidate).collect()
    }

    #[test]
    fn a_request_starts_the_lowest_and_only_one() {
        assert_eq!(for_request(&candidates(&[Down, Down])), Wanted::Start(0));
        assert_eq!(for_request(&candidates(&[Down, Starting])), Wanted::Wait);
        assert_eq!(for_request(&candidates(&[Stopping, Down])), Wanted::Start(1));
        assert_eq!(for_request(&candidates(&[Stopping])), Wanted::Wait);
    }

    #[test]
    fn a_request_starts_the_next_when_the_lowest_has_failed_or_is_marked_down() {
        let mut all = candidates(&[Down, Down, Down]);
        all[0].has_failed = true;
        assert_eq!(for_request(&all), Wanted::Start(1));
        all[1].program = Program::initial(true, false);
        assert_eq!(for_request(&all), Wanted::Start(2));
        all[2].has_failed = true;
        assert_eq!(for_request(&all), Wanted::Nothing);
    }

    #[test]
    fn a_request_waits_for_a_program_whose_first_probe_is_awaited() {
        let mut all = candidates(&[Up, Down]);
        assert_eq!(for_request(&all), Wanted::Start(1), "up but sick");
        all[0].is_awaited = true;
        assert_eq!(for_request(&all), Wanted::Wait);
    }

    #[test]
    fn a_request_waits_for_sick_programs_where_no_other_can_be_started() {
        let mut all = candidates(&[Up, Down]);
        all[1].has_failed = true;
        assert_eq!(for_request(&all), Wanted::Wait);
        all[0].may_recover = false;
        assert_eq!(for_request(&all), Wanted::Nothing, "its stop has failed");
    }

    fn report(requests: u64, active: usize) -> LoadReport {
        LoadReport { requests, interval: 60_000, active, programs: 3 }
    }

    #[test]
    fn load_is_in_hundredths_of_requests_a_second_and_active_program() {
        assert_eq!(report(6_000, 2).load(), 5_000);
        assert_eq!(report(6_000, 0).load(), 0);
        assert_eq!(report(1, 1).load(), 1);
    }

    #[test]
    fn high_load_starts_one_more_if_there_is_one() {
        assert_eq!(report(6_001 * 2, 2).wants(RULE), Some(Command::Start));
        assert_eq!(report(6_000 * 2, 2).wants(RULE), None);
        assert_eq!(report(60_000, 3).wants(RULE), None);
    }

    #[test]
    fn low_load_stops_one_down_to_one_and_no_load_down_to_none() {
        assert_eq!(report(2_399 * 2, 2).wants(RULE), Some(Command::Stop));
        assert_eq!(report(2_400 * 2, 2).wants(RULE), None);
        assert_eq!(report(1, 1).wants(RULE), None);
        assert_eq!(report(0, 1).wants(RULE), Some(Command::Stop));
        assert_eq!(report(0, 0).wants(RULE), None);
    }

    #[test]
    fn no_program_is_stopped_at_the_minimum() {
        let rule = LoadRule { min_servers: 1, ..RULE };
        assert_eq!(report(0, 1).wants(rule), None);
        assert_eq!(report(0, 2).wants(rule), Some(Command::Stop));
    }
}
