#![doc = include_str!("../README.md")]

pub mod graph;
#[cfg(test)]
mod graph_tests;
pub mod jobs;
mod label_error;
pub mod labels;
pub mod mail;
pub mod metrics;
pub mod mistakes;
pub mod progress;
pub mod provider;
pub mod render;
pub mod report;
pub mod server;
pub mod settings;
pub mod simulator;
pub mod spacelift;
pub mod webhook;
pub mod windows;
pub mod workflows;
