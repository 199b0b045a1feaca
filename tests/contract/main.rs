//! Contract tests: one module per API.

#![allow(missing_docs, reason = "a test binary has no readers of its documentation")]
