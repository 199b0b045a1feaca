//! Traces and spans, with ids derived from names.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::message::{self, KeyValue, OneValue};

/// Maximum number of attributes per span. Dropped ones are counted.
const MOST_ATTRIBUTES: usize = 32;
/// Maximum length of a name, a text or an error, in characters.
const LONGEST_TEXT: usize = 256;
/// The namespace of the ids (a random version 4 UUID, generated once). Must never change, because processes of different releases
/// share traces.
const NAME_SPACE: Uuid = Uuid::from_u128(0x1f0d_5a8c_77e2_4b6b_9d15_3c0e_52a4_88f9);

/// A trace, identified by its name: the same name means the same trace in every process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Trace(Uuid);

/// An attribute's value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// Text, truncated to 256 characters.
    Text(String),
    /// A number.
    Number(i64),
    /// A boolean.
    Flag(bool),
}

/// A timed piece of work that is part of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Span {
    trace: Trace,
    id: [u8; 8],
    parent: Option<[u8; 8]>,
    name: Cow<'static, str>,
    from: SystemTime,
    until: SystemTime,
    attributes: Vec<(&'static str, Value)>,
    left_out: u32,
    error: Option<String>,
}

impl Trace {
    /// Returns the trace with this name.
    pub fn of(name: &str) -> Self {
        Self(Uuid::new_v5(&NAME_SPACE, name.as_bytes()))
    }

    /// Returns a span of this trace. The key is unique within the trace, and children refer to it; the name is displayed, and is the same
    /// for all spans of a kind.
    pub fn span(
        self,
        key: &str,
        name: impl Into<Cow<'static, str>>,
        from: SystemTime,
        until: SystemTime,
    ) -> Span {
        Span {
            trace: self,
            id: self.span_id(key),
            parent: None,
            name: name.into(),
            from,
            until,
            attributes: Vec::new(),
            left_out: 0,
            error: None,
        }
    }

    fn span_id(self, key: &str) -> [u8; 8] {
        // The lower half begins with the variant bits of the UUID, so that it is never zero, an invalid span
        // id.
        let (_, half) = Uuid::new_v5(&self.0, key.as_bytes()).as_u64_pair();
        half.to_be_bytes()
    }
}

/// Formats the id in hexadecimal digits, as tracing backends show it.
impl std::fmt::Display for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.simple().fmt(f)
    }
}

impl Span {
    /// Sets the parent span by its key.
    pub fn under(mut self, parent: &str) -> Self {
        self.parent = Some(self.trace.span_id(parent));
        self
    }

    /// Sets the end time.
    pub fn until(self, until: SystemTime) -> Self {
        Self { until, ..self }
    }

    /// Adds an attribute.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        if self.attributes.len() < MOST_ATTRIBUTES {
            self.attributes.push((name, value.into()));
        } else {
            self.left_out += 1;
        }
        self
    }

    /// Marks the span as failed if there is an error.
    pub fn failed(mut self, error: Option<impl Into<String>>) -> Self {
        self.error = error.map(Into::into);
        self
    }

    pub(crate) fn into_message(self) -> message::Span {
        // The clock may have been set back since the span began.
        let until = self.until.max(self.from);
        message::Span {
            trace_id: self.trace.0.as_bytes().to_vec(),
            span_id: self.id.to_vec(),
            parent_span_id: self.parent.map(|id| id.to_vec()).unwrap_or_default(),
            name: cut(self.name.into_owned()),
            kind: message::INTERNAL,
            start_time_unix_nano: nanoseconds(self.from),
            end_time_unix_nano: nanoseconds(until),
            attributes: self
                .attributes
                .into_iter()
                .map(|(name, value)| KeyValue::new(name, value.into()))
                .collect(),
            dropped_attributes_count: self.left_out,
            status: self.error.map(|error| message::Status {
                message: cut(error),
                code: message::ERROR,
            }),
            flags: message::SAMPLED,
        }
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn cut(text: String) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}

impl From<Value> for OneValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(cut(text)),
            Value::Number(number) => Self::Number(number),
            Value::Flag(flag) => Self::Flag(flag),
        }
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ids_are_derived_from_names_and_never_change() {
        let now = SystemTime::now();
        let one = Trace::of("plan-1").span("evaluation", "evaluation", now, now);
        let message = one.clone().into_message();
        assert_eq!(
            Trace::of("plan-1").to_string(),
            "ea5feee8dda75878a0c7fc017b3f7d30"
        );
        assert_eq!(
            message.span_id,
            Trace::of("plan-1").span_id("evaluation").to_vec()
        );
        let child = Trace::of("plan-1")
            .span("list", "list", now, now)
            .under("evaluation")
            .into_message();
        assert_eq!(child.parent_span_id, message.span_id);
        assert_eq!(child.trace_id, message.trace_id);
        let other = Trace::of("plan-2")
            .span("evaluation", "evaluation", now, now)
            .into_message();
        assert_ne!(other.trace_id, message.trace_id);
        assert_ne!(other.span_id, message.span_id, "the same key in another trace");
    }

    #[test]
    fn texts_attributes_and_times_are_bounded() {
        let now = SystemTime::now();
        let mut span = Trace::of("a")
            .span("b", "n".repeat(1_000), now, now - Duration::from_secs(1))
            .failed(Some("é".repeat(1_000)));
        for number in 0..40_u32 {
            span = span.with("text", "x".repeat(300)).with("number", number);
        }
        let message = span.into_message();
        assert_eq!(message.name.chars().count(), 256);
        assert_eq!(message.status.expect("failed").message.chars().count(), 256);
        assert_eq!(
            (message.attributes.len(), message.dropped_attributes_count),
            (32, 48)
        );
        assert_eq!(message.start_time_unix_nano, message.end_time_unix_nano);
        assert_eq!(
            message.attributes[0].value.clone().expect("a value").value,
            Some(OneValue::Text("x".repeat(256)))
        );
        let before_1970 = Trace::of("a").span("b", "c", UNIX_EPOCH - Duration::from_secs(1), UNIX_EPOCH);
        assert_eq!(before_1970.into_message().start_time_unix_nano, 0);
    }
}
