//! End-to-end tests: one behaviour a file, on a real nginx.

mod harness;
