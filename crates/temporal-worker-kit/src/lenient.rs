//! A workflow input that cannot fail to decode.
//!
//! An input that fails to decode blocks its run: the workflow task is retried until a deployment fixes it. So zero inputs,
//! null, junk and too many inputs all decode, and the reason is kept as text.

use serde::Serialize;
use serde::de::DeserializeOwned;
use temporalio_common::data_converters::{
    GenericPayloadConverter, PayloadConversionError, SerializationContext, TemporalDeserializable,
    TemporalSerializable,
};
use temporalio_common::protos::temporal::api::common::v1::Payload;

/// A value that cannot fail to decode. It must not derive serde's traits: the payload is that of the value alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lenient<T> {
    /// The value; the default if none was given or it cannot be read.
    pub value: T,
    /// Why it cannot be read.
    pub problem: Option<String>,
}

impl<T> From<T> for Lenient<T> {
    fn from(value: T) -> Self {
        Self { value, problem: None }
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
        let Some(first) = payloads.into_iter().next() else {
            return Ok(Self::default());
        };
        // Null means "nothing given" as well.
        Ok(
            match context.converter.from_payload::<Option<T>>(context, first) {
                Ok(value) => Self {
                    value: value.unwrap_or_default(),
                    problem: None,
                },
                Err(error) => Self {
                    value: T::default(),
                    problem: Some(error.to_string()),
                },
            },
        )
    }
}
