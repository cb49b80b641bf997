//! A probe allocates when it is made and never again. Alone in its file for the sake of the global
//! allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use healthcheck_core::check::Check;
use healthcheck_core::outcome::Outcome;
use healthcheck_core::probe::{Action, Event, Probe};

thread_local! {
    // By thread: the test harness allocates in its own.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator with a count.
struct Counting;

fn count() {
    ALLOCATIONS.with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call goes to the system's allocator unchanged; the counter itself never allocates,
// being a constant-initialised thread local without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` or `realloc` above with this `layout`, as the caller
        // promises, and so from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as in `dealloc`; the promise about `size` is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> usize {
    ALLOCATIONS.with(Cell::get)
}

fn check(expected: Option<&[u8]>) -> Arc<Check> {
    Arc::new(Check {
        delay: 10_000,
        fast_delay: None,
        timeout: 2_000,
        fall: 2,
        rise: 2,
        request: Box::from(&b"GET / HTTP/1.0\r\n\r\n"[..]),
        expected: expected.map(Box::from),
        buffer: 1_000,
    })
}

#[test]
fn making_a_probe_allocates_its_header_buffer_alone() {
    let check = check(Some(b"ok"));

    let before = allocations();
    let probe = Probe::new(check);
    assert_eq!(allocations(), before + 1);
    drop(probe);
}

#[test]
fn no_probe_allocates_from_start_to_finish() {
    let big = [&b"HTTP/1.1 200 OK\r\n"[..], &[b'x'; 5_000]].concat();
    let many = [&b"HTTP/1.1 200 OK\r\n"[..], &b"A: b\n".repeat(150)].concat();
    let streams = [
        &b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2, 2\r\n\r\nok"[..],
        b"HTTP/1.1 103\r\nA: b\r\n c\r\n\r\nHTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
          1;x\r\no\r\n1\r\nk\r\n0\r\nT: t\r\n\r\n",
        b"HTTP/1.0 200\r\n\r\nok",
        b"HTTP/1.0 200\r\nA\0\r\n\r\n",
        b"HTTP/1.0 500\r\n\r\n",
        b"garbage",
        b"",
        &big,
        &many,
    ];

    for expected in [None, Some(&b"ok"[..])] {
        let mut probe = Probe::new(check(expected));
        let before = allocations();
        let mut passes = 0;

        for stream in streams {
            for size in [1, 3, 10_000] {
                probe.start(0);
                probe.on_event(Event::Connected, 1);
                probe.on_event(Event::Sent(probe.to_send().len()), 2);
                for segment in stream.chunks(size) {
                    probe.on_event(Event::Received(segment), 3);
                }
                let end = probe.on_event(Event::Closed, 4);
                assert!(matches!(end, Action::Finish(_)));
                passes += usize::from(end == Action::Finish(Outcome::Ok));
            }
        }

        assert_eq!(allocations(), before);
        assert_eq!(passes, 9);
    }
}
