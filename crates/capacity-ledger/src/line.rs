//! Lines of exported files: their formats and field names.

use serde::Serialize;

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object per line.
    JsonLines,
}

/// A line of an exported file.
pub(crate) trait Line: Serialize {
    /// The names of its fields, in order.
    const NAMES: &'static [&'static str];
}

/// Declares a line and the names of its fields.
macro_rules! line {
    ($(#[$meta:meta])* struct $name:ident $(<$life:lifetime>)? { $($field:ident: $type:ty,)+ }) => {
        $(#[$meta])*
        struct $name $(<$life>)? {
            $($field: $type,)+
        }

        impl $(<$life>)? $crate::line::Line for $name $(<$life>)? {
            const NAMES: &'static [&'static str] = &[$(stringify!($field)),+];
        }
    };
}
pub(crate) use line;
