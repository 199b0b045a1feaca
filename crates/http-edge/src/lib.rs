#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Secret`] for keys, [`tls`] for connections, [`pem`] for certificates, [`SharedPause`] for rate limits.

mod pause;
pub mod pem;
mod secret;
pub mod tls;

pub use pause::SharedPause;
pub use secret::{Secret, SecretFileError, bearer, read_secret_file, without_quotes};
