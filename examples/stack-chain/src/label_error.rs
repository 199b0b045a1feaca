//! Mistakes in a label.

use crate::windows::WindowError;

/// The problem with a label, and its remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// The label takes no value but has one.
    #[error("`{0}` takes no value; use `{0}` alone")]
    TakesNoValue(String),
    /// The label needs a value but has none.
    #[error("`{label}` needs a value, as in `{example}`")]
    NeedsValue {
        /// Name of the label.
        label: String,
        /// Valid format of the label.
        example: &'static str,
    },
    /// The setting `STACK_CHAIN_LABELS` disables this spelling.
    #[error("`{0}:` is disabled by the setting STACK_CHAIN_LABELS; set it to `both` to use this label")]
    Disabled(&'static str),
    /// The label contains no stack id.
    #[error("names no stack; add the id of the stack to depend on")]
    NamesNoStack,
    /// The list has an extra comma.
    #[error("`{0}` has an empty entry in its list; remove the extra comma")]
    EmptyEntry(String),
    /// The text is not a valid stack id.
    #[error("`{id}` is not a stack id (lower-case letters, digits, `-` and `_`){hint}")]
    NotAStackId {
        /// The invalid text.
        id: String,
        /// Hint on how to write a list, if it looks like one.
        hint: &'static str,
    },
    /// The condition is unknown.
    #[error("`{0}` is not a condition; use on-success, on-failure or always")]
    NotACondition(String),
    /// The text is not a valid group name.
    #[error("`{0}` is not a group name: use up to 64 characters without spaces")]
    NotAGroup(String),
    /// The text is not a number in the valid range.
    #[error("`{text}` is not a whole number from {least} to {most}")]
    NotANumber {
        /// The invalid text.
        text: String,
        /// Lowest valid number.
        least: i32,
        /// Highest valid number.
        most: i32,
    },
    /// The text is not a duration.
    #[error("`{0}` is not a time from 1s to 7d, such as 90s, 15m, 2h or 1d")]
    NotATime(String),
    /// The text is not a time window.
    #[error(transparent)]
    Window(#[from] WindowError),
    /// The label differs from a known one by only a few letters.
    #[error("`{label}` is unknown; did you mean `{known}`?")]
    Misspelled {
        /// Name of the label.
        label: String,
        /// The label that was probably intended.
        known: &'static str,
    },
    /// The label is unknown.
    #[error("`{0}` is unknown; `stack-chain labels` lists all labels")]
    Unknown(String),
    /// The label contradicts an earlier one.
    #[error("contradicts `{0}`, which is used; remove one of them")]
    Contradicts(String),
    /// The stack depends on itself.
    #[error("the stack depends on itself; remove the label")]
    OnItself,
}
