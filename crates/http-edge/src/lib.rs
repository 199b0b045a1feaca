#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Secret`] for keys, [`base_url`] for addresses, [`tls`] for connections, [`pem`] for certificates, [`SharedPause`] and
//! [`retry_after`] for rate limits, [`key_remedy`] for rejected keys. The feature `client` adds an HTTP client.

mod address;
mod causes;
#[cfg(feature = "client")]
mod client;
mod headers;
mod key_remedy;
mod mistakes;
mod pause;
pub mod pem;
mod secret;
pub mod tls;

pub use address::{AddressProblem, base_url, is_loopback, secret_url};
pub use causes::write_causes;
#[cfg(feature = "client")]
pub use client::{client, usual_client};
pub use headers::{retry_after, server_time};
pub use key_remedy::key_remedy;
pub use mistakes::ConfigErrors;
pub use pause::SharedPause;
pub use secret::{Secret, SecretFileError, bearer, read_secret_file, without_quotes};
