//! Keeps the processors awake.

use std::hint;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// A thread for each processor that turns round and round whenever nobody else wants it, until the
/// value is dropped. Otherwise a wake-up costs more or less depending on how deeply a processor sleeps,
/// and a server that uses less of it pays more each time.
pub struct Spin {
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Spin {
    /// Starts them.
    pub fn start() -> Spin {
        let ended = Arc::new(AtomicBool::new(false));
        let count = thread::available_parallelism().map_or(1, usize::from);
        let turn = |_| {
            let ended = Arc::clone(&ended);
            thread::spawn(move || {
                yield_to_all();
                while !ended.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            })
        };
        let threads = (0..count).map(turn).collect();

        Spin { ended, threads }
    }
}

impl Drop for Spin {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It cannot panic.
            let _ = thread.join();
        }
    }
}

/// Lets this thread run only where nobody else wants to.
fn yield_to_all() {
    let lowest = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is this thread; the structure lives until the call returns.
    let code = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const lowest) };
    assert_eq!(code, 0, "SCHED_IDLE: {}", std::io::Error::last_os_error());
}
