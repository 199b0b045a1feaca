//! The service's representation of values: proto3 JSON, parsed leniently.
//!
//! Absent, null and the default are equal. Enums are names or numbers, and new values may appear. 64-bit
//! numbers are strings. (Proto3 JSON mapping; Temporal's API description v0.19.1.)

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// Deserializes absent or null as the default.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Deserializes absent, null or empty as `None`.
pub(crate) fn empty_is_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

/// A double, from a number or a string (`"NaN"` and `"Infinity"` are valid); anything else is `None`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Double(pub(crate) f64);

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(f64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Ok(Self(number)),
            Form::Text(text) => text.parse().map(Self).map_err(serde::de::Error::custom),
        }
    }
}

/// Deserializes absent, null or 0 as `None`.
pub(crate) fn zero_is_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let number = Option::<Double>::deserialize(deserializer)?.map(|double| double.0);
    Ok(number.filter(|number| number.abs() > 0.0 || number.is_nan()))
}

pub(crate) fn doubles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let numbers = Option::<Vec<Double>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(numbers.into_iter().map(|double| double.0).collect())
}

/// Deserializes a duration such as `10s` or `0.5s`. Absent, null, zero and invalid values are `None`.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    // Invalid text is not an error: the duration is only a hint when to poll.
    let seconds = text.and_then(|text| {
        text.strip_suffix('s')
            .and_then(|number| number.parse::<f64>().ok())
    });
    Ok(seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|span| !span.is_zero()))
}

/// An enum of the API with its prefix, names and numbers. Unknown values keep their text.
macro_rules! wire_enum {
    ($(#[doc = $doc:literal])* $name:ident, $prefix:literal, { $($(#[doc = $variant_doc:literal])* $variant:ident = $number:literal $text:literal,)+ }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub enum $name {
            /// Not specified.
            #[default]
            Unspecified,
            $($(#[doc = $variant_doc])* $variant,)+
            /// A value that this version of the client does not know, as received.
            Other(String),
        }

        impl $name {
            fn from_name(name: &str) -> Self {
                match name.strip_prefix($prefix).unwrap_or(name) {
                    "" | "UNSPECIFIED" => Self::Unspecified,
                    $($text => Self::$variant,)+
                    _ => Self::Other(name.to_owned()),
                }
            }

            fn from_number(number: i64) -> Self {
                match number {
                    0 => Self::Unspecified,
                    $($number => Self::$variant,)+
                    _ => Self::Other(number.to_string()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let text = match self {
                    Self::Unspecified => "unspecified",
                    $(Self::$variant => $text,)+
                    Self::Other(name) => name,
                };
                f.write_str(&text.to_ascii_lowercase().replace('_', " "))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(serde::Deserialize)]
                #[serde(untagged)]
                enum Form {
                    Number(i64),
                    Name(String),
                }
                Ok(match Option::<Form>::deserialize(deserializer)? {
                    None => Self::Unspecified,
                    Some(Form::Number(number)) => Self::from_number(number),
                    Some(Form::Name(name)) => Self::from_name(&name),
                })
            }
        }
    };
}
pub(crate) use wire_enum;
