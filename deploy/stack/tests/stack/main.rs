//! Tests of a real stack: Temporal on PostgreSQL through `PgBouncer`, broken and upgraded on purpose. They
//! run in `.ci/full`, because the first run builds the server with Go and each test takes minutes.
#![allow(missing_docs, reason = "a test binary has no readers of its documentation")]
#![expect(
    clippy::print_stdout,
    reason = "steps and figures show in the output of .ci/full"
)]

mod archival;
mod doctor;
mod faults;
mod harness;
mod refused;
mod schema;
mod search;
mod upgrade;
