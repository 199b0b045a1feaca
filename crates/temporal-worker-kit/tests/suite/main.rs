//! The kit on a real Temporal development server.

#![allow(missing_docs, reason = "a test binary has no readers of its documentation")]
#![allow(clippy::unused_async, reason = "the SDK's macros require this signature")]

mod connection;
#[path = "../../../../tests/temporal/proxy.rs"]
mod proxy;
mod reload;
mod worker;
