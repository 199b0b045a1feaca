//! Refusals of the API.

use serde_json::{Value, json};

/// A refusal, worded like the gateway's.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: u8, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(crate) fn body(&self) -> Value {
        json!({ "code": self.code, "message": self.message, "details": [] })
    }
}
