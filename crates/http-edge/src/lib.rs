#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Secret`] for keys, [`tls`] for connections, [`pem`] for certificates, [`SharedPause`] for rate limits,
//! [`key_remedy`] for rejected keys.

mod causes;
mod key_remedy;
mod pause;
pub mod pem;
mod secret;
pub mod tls;

pub use causes::write_causes;
pub use key_remedy::key_remedy;
pub use pause::SharedPause;
pub use secret::{Secret, SecretFileError, bearer, read_secret_file, without_quotes};
