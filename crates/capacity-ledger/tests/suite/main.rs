//! One suite for both databases. PostgreSQL is a real server from the distribution's packages.
#![allow(missing_docs, reason = "a test binary has no readers of its documentation")]

mod decisions;
mod failures;
mod history;
mod looking;
mod minutes;
mod pgbouncer;
mod places;
mod postgres;
mod ranges;
mod restored;
mod transfer;
