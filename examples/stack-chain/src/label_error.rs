//! Mistakes in a label.

use crate::windows::WindowError;

/// What is wrong with a label, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// A label without a value has one.
    #[error("`{0}` takes no value; write `{0}` alone")]
    TakesNoValue(String),
    /// A label with a value has none.
    #[error("`{label}` needs a value, as in `{example}`")]
    NeedsValue {
        /// The label.
        label: String,
        /// How it is written.
        example: &'static str,
    },
    /// The setting excludes this way to write it.
    #[error("`{0}:` is disabled by the setting STACK_CHAIN_LABELS; set it to `both` to use this label")]
    Disabled(&'static str),
    /// It should name a stack.
    #[error("names no stack; add the id of the stack to depend on")]
    NamesNoStack,
    /// There is a comma too many.
    #[error("`{0}` has an empty entry in its list; remove the extra comma")]
    EmptyEntry(String),
    /// No stack can have this id.
    #[error("`{id}` is not a stack id (lower-case letters, digits, `-` and `_`){hint}")]
    NotAStackId {
        /// The text.
        id: String,
        /// How to write a list, where it looks like one.
        hint: &'static str,
    },
    /// An unknown condition.
    #[error("`{0}` is not a condition; use on-success, on-failure or always")]
    NotACondition(String),
    /// No group can have this name.
    #[error("`{0}` is not a group name: use up to 64 characters without spaces")]
    NotAGroup(String),
    /// Not a number in the range.
    #[error("`{text}` is not a whole number from {least} to {most}")]
    NotANumber {
        /// The text.
        text: String,
        /// The lowest number.
        least: i32,
        /// The highest number.
        most: i32,
    },
    /// Not a span of time.
    #[error("`{0}` is not a time from 1s to 7d, such as 90s, 15m, 2h or 1d")]
    NotATime(String),
    /// Not a window of time.
    #[error(transparent)]
    Window(#[from] WindowError),
    /// It differs from a known label by a few letters.
    #[error("`{label}` is unknown; did you mean `{known}`?")]
    Misspelled {
        /// The label.
        label: String,
        /// The label that was probably meant.
        known: &'static str,
    },
    /// Nothing like it is known.
    #[error("`{0}` is unknown; `stack-chain labels` lists all labels")]
    Unknown(String),
    /// It contradicts an earlier one.
    #[error("contradicts `{0}`, which is used; remove one of them")]
    Contradicts(String),
    /// The stack depends on itself.
    #[error("the stack depends on itself; remove the label")]
    OnItself,
}
