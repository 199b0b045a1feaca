#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`load`] turns [`Inputs`] into [`Settings`], or into all [`Mistakes`] at once; [`CATALOG`] lists every setting.

mod catalog;
mod defaults;
mod dotenv;
mod layers;
mod mistake;
mod policies;
mod prices;
mod profile;
mod prometheus;
mod settings;
mod synonyms;
#[cfg(test)]
mod tests;
mod toml;
mod traces;
mod values;
mod wrong;

pub use catalog::{CATALOG, Entry};
pub use layers::Inputs;
pub use mistake::{Mistake, Mistakes, Origin};
pub use settings::{EffectiveSetting, Home, Keep, Needs, Settings, load};
