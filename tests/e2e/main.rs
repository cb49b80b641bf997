//! End-to-end tests: one behaviour a file, on a real nginx.
//!
//! `check_NN` in a name is the number of an acceptance check of the module's specification.

mod abi;
mod addresses;
mod architecture;
mod availability;
mod balancers;
mod bodies;
mod configuration;
mod drills;
mod examples;
mod exported;
mod fast;
mod harness;
mod helpers;
mod hold;
mod hostile;
mod hysteresis;
mod judge;
mod limits;
mod ownership;
mod page;
mod patched;
mod pauses;
mod programs;
mod quit;
mod reload;
mod resolve;
mod sent;
mod single;
mod thousand;
mod transport;
mod trouble;
mod untouched;
mod valgrind;
mod verdicts;
mod zone_growth;
