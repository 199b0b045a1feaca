//! Defaults that depend on another setting.

use std::collections::BTreeMap;

use capacity_engine::break_even::BreakEven;

use crate::layers::Found;
use crate::mistake::Origin;

pub(crate) const POLICY: &str = "POLICY";
pub(crate) const SHADOW: &str = "POLICY_SHADOW";
pub(crate) const BUDGET: &str = "METRICS_REQUESTS_PER_HOUR";
pub(crate) const KEEP: &str = "LEDGER_KEEP_MINUTES";

/// Applies the defaults that `break-even` needs: a sample every minute, and enough stored minutes for
/// backtests.
pub(crate) fn adapt_defaults(values: &mut BTreeMap<&'static str, Found>) {
    let is_break_even = |name: &str| {
        values
            .get(name)
            .is_some_and(|found| is(&found.text, BreakEven::NAME))
    };
    if !is_break_even(POLICY) && !is_break_even(SHADOW) {
        return;
    }
    for (name, text) in [(BUDGET, "120"), (KEEP, "35d")] {
        if let Some(found) = values.get_mut(name)
            // A value that the operator has set stays, with a warning if it is too low.
            && found.origin == Origin::Default
        {
            text.clone_into(&mut found.text);
        }
    }
}

/// Returns whether a setting's value is this policy name.
pub(crate) fn is(text: &str, name: &str) -> bool {
    text.trim().eq_ignore_ascii_case(name)
}
