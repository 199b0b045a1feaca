//! Asynchronous operations.

use jiff::Timestamp;

use crate::faults::OperationFault;

/// An asynchronous operation.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) namespace: usize,
    pub(crate) started: Timestamp,
    /// Time and result of the operation's end.
    pub(crate) ends: Timestamp,
    pub(crate) fault: OperationFault,
    /// The requested capacity; `None` if the operation changes something else.
    pub(crate) wanted: Option<u32>,
    /// Time when the capacity of a fulfilled operation takes effect.
    pub(crate) takes_effect: Timestamp,
    pub(crate) ended: bool,
    pub(crate) applied: bool,
}
