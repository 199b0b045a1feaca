#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Secret`] for keys, [`tls`] for connections, [`pem`] for certificates.

pub mod pem;
mod secret;
pub mod tls;

pub use secret::{Secret, SecretFileError, bearer, read_secret_file, without_quotes};
