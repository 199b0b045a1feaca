//! A scrape client for the Temporal Cloud metrics endpoint (feature `scrape`).
//!
//! The endpoint shows one completed minute, three minutes late, in responses of at most 30,000 points, and
//! allows 180 requests an hour for the whole account, shared by all clients (Temporal's documentation,
//! OpenMetrics API reference). An account is therefore read in as few requests as possible, within a budget.
//! A response counts only if it is declared complete and was read completely: data absent from a partial
//! response is not zero.
//!
//! [`Scraper::read_account`] reads an account; [`Scraper::scrape`] makes a single request.

mod account;
mod client;
mod config;
mod error;
mod parts;

pub use account::{AccountAnswer, AccountRead};
pub use client::{Answer, Completeness, Query, Scraper};
pub use config::{Config, ConfigError, PUBLIC_BASE_URL};
pub use error::{Error, ErrorKind};
pub use parts::{AccountQuery, FamilyQuery};
/// The HTTP library, for callers that pass their own client.
pub use reqwest;
