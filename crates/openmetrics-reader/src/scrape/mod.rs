//! A scrape client of the Temporal Cloud metrics endpoint (feature `scrape`).
//!
//! The endpoint shows one completed minute, three minutes late, in answers of at most 30,000 points, and answers 180
//! requests an hour for the whole account, shared by all clients (Temporal's documentation, OpenMetrics API reference). So an
//! account is read in as few requests as it takes, inside a budget, and an answer counts only if it is declared complete
//! and was read to its end: what is absent from half an answer is not zero.
//!
//! [`Scraper::read_account`] reads an account; [`Scraper::scrape`] makes a single request.

mod account;
mod client;
mod config;
mod error;
mod parts;

pub use account::AccountAnswer;
pub use client::{Answer, Completeness, Query, Scraper};
pub use config::{Config, ConfigError, PUBLIC_BASE_URL};
pub use error::{Error, ErrorKind};
pub use parts::{AccountQuery, FamilyQuery};
/// The HTTP library, for a client of your own.
pub use reqwest;
