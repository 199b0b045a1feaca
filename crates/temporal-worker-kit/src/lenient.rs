//! A workflow input that cannot fail to decode.
//!
//! An input that fails to decode blocks its run: the workflow task is retried until a deployment fixes it.
//! With this type, zero inputs, null, junk and too many inputs all decode, and the problem is kept as text.

use serde::Serialize;
use serde::de::DeserializeOwned;
use temporalio_common::data_converters::{
    GenericPayloadConverter, PayloadConversionError, SerializationContext, TemporalDeserializable,
    TemporalSerializable,
};
use temporalio_common::protos::temporal::api::common::v1::Payload;

/// A value that cannot fail to decode. Do not derive serde's traits for it: its payload is that of the value
/// alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lenient<T> {
    /// The value; the default if there was no input or it is invalid.
    pub value: T,
    /// The problem, if the input is invalid.
    pub problem: Option<String>,
    is_given: bool,
}

impl<T> Lenient<T> {
    /// Returns why there is no usable value, for a workflow that requires one.
    pub fn problem_if_required(&self) -> Option<String> {
        match &self.problem {
            None if !self.is_given => Some("no input was given".to_owned()),
            problem => problem.clone(),
        }
    }
}

impl<T> From<T> for Lenient<T> {
    fn from(value: T) -> Self {
        Self {
            value,
            problem: None,
            is_given: true,
        }
    }
}

impl<T: Serialize + 'static> TemporalSerializable for Lenient<T> {
    fn to_payload(&self, context: &SerializationContext<'_>) -> Result<Payload, PayloadConversionError> {
        context.converter.to_payload(context, &self.value)
    }
}

impl<T: DeserializeOwned + Default + 'static> TemporalDeserializable for Lenient<T> {
    fn from_payload(
        context: &SerializationContext<'_>,
        payload: Payload,
    ) -> Result<Self, PayloadConversionError> {
        Self::from_payloads(context, vec![payload])
    }

    fn from_payloads(
        context: &SerializationContext<'_>,
        payloads: Vec<Payload>,
    ) -> Result<Self, PayloadConversionError> {
        // Further inputs are ignored: nothing sends them on purpose, and an error would block the run.
        let Some(first) = payloads.into_iter().next() else {
            return Ok(Self::default());
        };
        // Null also means no input.
        Ok(
            match context.converter.from_payload::<Option<T>>(context, first) {
                Ok(Some(value)) => Self::from(value),
                Ok(None) => Self::default(),
                Err(error) => Self {
                    problem: Some(error.to_string()),
                    ..Self::default()
                },
            },
        )
    }
}
