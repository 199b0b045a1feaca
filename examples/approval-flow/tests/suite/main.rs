//! The example on a real Temporal development server, and its recorded histories.

#![allow(missing_docs, reason = "a test binary has no readers of its documentation")]

mod definitions;
mod flow;
mod program;
mod upgrade;
mod v1;
mod world;
