//! Finds the smallest change of one input that changes a decision. A change is reported only after the engine
//! has decided on it.

use super::dials::{Dial, dials};
use super::inputs::Inputs;
use super::switches::{Switch, switches};
use crate::decision::Decision;

/// A change of one input that makes the engine decide differently.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Flip {
    /// The input, as text.
    pub input: String,
    /// Whether the input was observed; otherwise it is a setting.
    pub is_observed: bool,
    /// The current value of the input.
    pub from: String,
    /// The nearest value that changes the decision.
    pub to: String,
    /// Size of the change, in thousandths of the value; 1,000 if the input is not a number.
    pub size_milli: u64,
    /// The engine's decision on the changed inputs.
    pub becomes: Decision,
    /// The inputs including the change.
    pub inputs: Inputs,
}

/// The kind of difference between two decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    /// Same action and size, different reason.
    Reason,
    /// Same action, different size.
    Size,
    /// Different action.
    Action,
}

fn difference(one: &Decision, other: &Decision) -> Option<Difference> {
    let action = |decision: &Decision| std::mem::discriminant(&decision.action);
    if action(one) != action(other) {
        Some(Difference::Action)
    } else if one.wanted != other.wanted || one.blocked != other.blocked {
        Some(Difference::Size)
    } else if one.reason_code != other.reason_code {
        Some(Difference::Reason)
    } else {
        None
    }
}

/// Returns the smallest change of each input that changes the decision. Observed values come before settings,
/// another action before another size or reason, and small changes before large ones.
pub(super) fn flips(inputs: &Inputs, decision: &Decision) -> Vec<Flip> {
    let mut found = Vec::new();
    for dial in dials(inputs) {
        found.extend(turned(inputs, decision, &dial));
    }
    for switch in switches(inputs) {
        found.extend(switched(inputs, decision, &switch));
    }
    found.sort_by_key(|flip| {
        (
            !flip.is_observed,
            std::cmp::Reverse(difference(decision, &flip.becomes)),
            flip.size_milli,
        )
    });
    found
}

fn turned(inputs: &Inputs, decision: &Decision, dial: &Dial) -> Option<Flip> {
    let at = |value: u64| {
        let mut changed = inputs.clone();
        (dial.set)(&mut changed, value);
        changed
    };
    let reaches =
        |wanted: Difference| move |value: u64| difference(decision, &at(value).decide()) >= Some(wanted);
    let search = |wanted| nearest(dial.value, dial.least..=dial.most, dial.grain, &reaches(wanted));
    let value = search(Difference::Action)
        .or_else(|| search(Difference::Size))
        .or_else(|| search(Difference::Reason))?;
    let changed = at(value);
    let by = value.abs_diff(dial.value);
    let share = u128::from(by) * 1_000 / u128::from(dial.value.max(dial.scale).max(1));
    Some(Flip {
        input: dial.input.clone(),
        is_observed: dial.is_observed,
        from: (dial.show)(inputs),
        to: (dial.show)(&changed),
        size_milli: u64::try_from(share).unwrap_or(u64::MAX),
        becomes: changed.decide(),
        inputs: changed,
    })
}

fn switched(inputs: &Inputs, decision: &Decision, switch: &Switch) -> Option<Flip> {
    let mut changed = inputs.clone();
    (switch.set)(&mut changed);
    let becomes = changed.decide();
    difference(decision, &becomes)?;
    Some(Flip {
        input: switch.input.clone(),
        is_observed: switch.is_observed,
        from: switch.from.clone(),
        to: switch.to.clone(),
        size_milli: 1_000,
        becomes,
        inputs: changed,
    })
}

/// Returns the value nearest to the current one, up or down in steps of `grain`, for which `holds` returns
/// true. If `holds` is not monotonic, a nearer value may be missed.
pub fn nearest(
    value: u64,
    range: std::ops::RangeInclusive<u64>,
    grain: u64,
    holds: &dyn Fn(u64) -> bool,
) -> Option<u64> {
    let up = range.end().saturating_sub(value);
    let down = value.saturating_sub(*range.start());
    let above = first(up, grain, &|distance| holds(value + distance));
    let below = first(down, grain, &|distance| holds(value - distance));
    match (above, below) {
        (Some(above), Some(below)) if below < above => Some(value - below),
        (Some(above), _) => Some(value + above),
        (None, Some(below)) => Some(value - below),
        (None, None) => None,
    }
}

/// Returns the smallest distance, up to the farthest, for which `holds` returns true. The distance doubles
/// until it does; then the gap is bisected.
fn first(farthest: u64, grain: u64, holds: &dyn Fn(u64) -> bool) -> Option<u64> {
    if farthest == 0 {
        return None;
    }
    let (mut near, mut far) = (0, grain.min(farthest));
    while !holds(far) {
        if far == farthest {
            return None;
        }
        near = far;
        far = far.saturating_mul(2).min(farthest);
    }
    while far - near > grain {
        // Stays on the grid of steps, so that the value can be displayed and typed exactly.
        let middle = near + (far - near) / 2 / grain * grain;
        if middle == near {
            break;
        }
        if holds(middle) {
            far = middle;
        } else {
            near = middle;
        }
    }
    Some(far)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::at_once(1_000, 1, 1, Some(1))]
    #[case::between_doublings(1_000, 1, 77, Some(77))]
    #[case::the_farthest(1_000, 1, 1_000, Some(1_000))]
    #[case::never(1_000, 1, 1_001, None)]
    #[case::in_grains(1_000_000, 1_000, 77_001, Some(78_000))]
    #[case::no_room(0, 1, 0, None)]
    fn the_nearest_value_is_found(
        #[case] farthest: u64,
        #[case] grain: u64,
        #[case] from: u64,
        #[case] expected: Option<u64>,
    ) {
        assert_eq!(first(farthest, grain, &|distance| distance >= from), expected);
    }
}
