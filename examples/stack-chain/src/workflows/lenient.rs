//! A workflow input that cannot fail to decode.
//!
//! An input that fails to decode blocks its run forever: the workflow task is retried until a deployment fixes it. So no input,
//! null, junk and too many inputs all decode, and what was wrong is kept as text.

use serde::Serialize;
use serde::de::DeserializeOwned;
use temporalio_common::data_converters::{
    GenericPayloadConverter, PayloadConversionError, PayloadConverter, RawValue, SerializationContext,
    SerializationContextData, TemporalDeserializable, TemporalSerializable,
};
use temporalio_common::protos::temporal::api::common::v1::Payload;

/// A value that cannot fail to decode. It must not derive serde's traits: the payload is that of the value alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lenient<T> {
    /// The value; the default if none was given or it could not be read.
    pub value: T,
    /// Why it could not be read.
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
        let nothing = || Self {
            value: T::default(),
            problem: Some("no input was given".to_owned()),
        };
        let Some(first) = payloads.into_iter().next() else {
            return Ok(nothing());
        };
        Ok(
            match context.converter.from_payload::<Option<T>>(context, first) {
                Ok(Some(value)) => Self::from(value),
                Ok(None) => nothing(),
                Err(error) => Self {
                    value: T::default(),
                    problem: Some(error.to_string()),
                },
            },
        )
    }
}

/// Reads a text out of a signal's arguments.
pub(super) fn text_of(converter: &PayloadConverter, raw: RawValue) -> Option<String> {
    let data = SerializationContextData::None;
    let context = SerializationContext::new(&data, converter);
    let text = converter.from_payloads::<String>(&context, raw.payloads).ok();
    text.filter(|text| !text.trim().is_empty())
}
