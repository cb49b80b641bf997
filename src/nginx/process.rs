//! Which process this is, what time it is, who else is alive.

use core::cell::RefCell;

use healthcheck_core::Msec;
use nginx_sys::{
    ngx_cached_time, ngx_core_conf_t, ngx_core_module, ngx_current_msec, ngx_cycle, ngx_cycle_t,
    ngx_exiting, ngx_pid, ngx_process, ngx_process_slot, ngx_quit, ngx_terminate, ngx_test_config,
    ngx_worker, NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER,
};

/// What this process does in nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Serves requests, one of `worker_processes`.
    Worker,
    /// The only process (`master_process off`); also every process before it became something else.
    Single,
    /// The master, a cache helper, or the sender of a signal.
    Other,
}

/// What this process does. Final from `init_process` on.
pub(crate) fn role() -> Role {
    // SAFETY: a plain number that nginx writes on its only thread, before it calls modules.
    match u32::try_from(unsafe { ngx_process }) {
        Ok(NGX_PROCESS_WORKER) => Role::Worker,
        Ok(NGX_PROCESS_SINGLE) => Role::Single,
        _ => Role::Other,
    }
}

/// Whether nginx only tests the configuration (`nginx -t`).
pub(crate) fn is_config_test() -> bool {
    // SAFETY: as in `role`.
    unsafe { ngx_test_config != 0 }
}

/// Whether this process was told to end, gracefully or at once.
pub(crate) fn is_exiting() -> bool {
    // SAFETY: signal handlers set these words; a stale value is corrected by the next call.
    unsafe { ngx_exiting != 0 || ngx_quit != 0 || ngx_terminate != 0 }
}

/// nginx's cached monotonic clock in milliseconds, common to all processes of the machine.
pub(crate) fn now() -> Msec {
    // SAFETY: nginx updates this word between events, on its only thread.
    unsafe { ngx_current_msec as Msec }
}

/// nginx's cached wall clock in milliseconds since 1970.
pub(crate) fn wall_clock_ms() -> u64 {
    // SAFETY: nginx points this at one of its static slots before any module is called.
    let time = unsafe { ngx_cached_time.as_ref() };
    time.map_or(0, |time| {
        u64::try_from(time.sec).unwrap_or(0).saturating_mul(1_000) + time.msec as u64
    })
}

/// This process.
pub(crate) fn pid() -> u32 {
    // SAFETY: set once at the start of the process.
    u32::try_from(unsafe { ngx_pid }).unwrap_or(0)
}

/// This process's place in the master's table: unique among old and new workers.
pub(crate) fn slot() -> usize {
    // SAFETY: set before the process was forked.
    usize::try_from(unsafe { ngx_process_slot }).unwrap_or(0)
}

/// 0-based number of this worker among `worker_processes`; old and new workers share numbers.
pub(crate) fn worker_number() -> usize {
    // SAFETY: set before `init_process`.
    unsafe { ngx_worker }
}

/// Whether a process with this pid exists. A process of another user (EPERM) does.
pub(crate) fn is_alive(pid: u32) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return false };
    // SAFETY: signal 0 only asks.
    let rc = unsafe { libc::kill(pid, 0) };
    rc == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// Whether a connection can be had without taking one of the last from clients: more than a sixteenth
/// is free (nginx's own mark), or so many can be taken back. The oldest of these is a client that is idle
/// between two requests; of only a few it may be one whose first request is on its way.
pub(crate) fn has_free_connection() -> bool {
    // SAFETY: `ngx_cycle` always points to a live cycle; read on nginx's only thread.
    unsafe { ngx_cycle.as_ref() }.is_some_and(|cycle| {
        let reserve = cycle.connection_n / 16;
        cycle.free_connection_n > reserve || cycle.reusable_connections_n > reserve
    })
}

/// `worker_processes` of a complete cycle; 1 without a master.
///
/// # Safety
/// `cycle` is a live cycle.
pub(crate) unsafe fn worker_processes(cycle: *mut ngx_cycle_t) -> usize {
    if role() == Role::Single {
        return 1;
    }
    // SAFETY: the core module always has a record; nginx fills in the number before modules start.
    let core = unsafe {
        let core = &raw const ngx_core_module;
        super::conf::record::<ngx_core_conf_t>((*cycle).conf_ctx.cast(), (*core).index)
    };
    core.and_then(|core| usize::try_from(core.worker_processes).ok()).unwrap_or(1).max(1)
}

/// Which configuration nginx runs in this process; only compared, never followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CycleId(usize);

impl CycleId {
    /// That of a cycle.
    pub(crate) fn of(cycle: *mut ngx_cycle_t) -> CycleId {
        CycleId(cycle.addr())
    }

    /// That of the cycle nginx runs now.
    pub(crate) fn running() -> CycleId {
        // SAFETY: a word that nginx writes on its only thread.
        CycleId::of(unsafe { ngx_cycle })
    }
}

/// A value that belongs to this process alone, reachable from every callback.
pub(crate) struct ProcessLocal<T>(RefCell<T>);

// SAFETY: nginx calls modules on one thread of each process (its thread pools never enter this
// module), and the `RefCell` refuses re-entry.
unsafe impl<T> Sync for ProcessLocal<T> {}

impl<T> ProcessLocal<T> {
    /// The value every process starts with.
    pub(crate) const fn new(value: T) -> Self {
        ProcessLocal(RefCell::new(value))
    }

    /// Runs `body` with the value; `None` when called from within such a `body`.
    pub(crate) fn with<R>(&self, body: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0.try_borrow_mut().ok().map(|mut value| body(&mut value))
    }
}
