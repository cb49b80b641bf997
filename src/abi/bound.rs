//! The types and constants of the C headers, as bindgen reads them: what does not match them does not
//! compile.
#![allow(
    clippy::missing_docs_in_private_items,
    dead_code,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub,
    unused_qualifications,
    reason = "generated; the headers are the documentation"
)]

include!(concat!(env!("OUT_DIR"), "/abi.rs"));
