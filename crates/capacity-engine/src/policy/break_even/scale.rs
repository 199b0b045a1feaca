//! The scale for remembered hours: one byte per rate, exact below 50 actions per second, then in steps of 4%.

/// Code of an unknown hour.
pub(super) const UNKNOWN: u8 = 255;

/// Highest code that represents a rate.
const HIGHEST: u8 = 254;

/// The rate of each code, in actions per second.
const STEPS: [i64; 255] = steps();

const fn steps() -> [i64; 255] {
    let mut steps = [0; 255];
    let mut code = 1;
    while code < steps.len() {
        let (next, four_percent_more) = (steps[code - 1] + 1, steps[code - 1] * 26 / 25);
        steps[code] = if next > four_percent_more {
            next
        } else {
            four_percent_more
        };
        code += 1;
    }
    steps
}

/// Returns the code for a rate in actions per minute.
pub(super) fn code(actions_per_minute: i64) -> u8 {
    let per_second = (actions_per_minute + 30) / 60;
    let smaller = STEPS.partition_point(|step| *step < per_second);
    u8::try_from(smaller).map_or(HIGHEST, |code| code.min(HIGHEST))
}

/// Returns the rate for a code, in actions per minute.
pub(super) fn decoded(code: u8) -> i64 {
    STEPS[usize::from(code.min(HIGHEST))] * 60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_remembered_as_the_next_step_up() {
        assert_eq!((code(0), code(29), code(30), code(89), code(90)), (0, 0, 1, 1, 2));
        assert_eq!(decoded(code(51 * 60)), 52 * 60);
        assert_eq!(code(i64::from(u32::MAX)), HIGHEST);
    }

    #[test]
    fn the_scale_is_that_of_the_reference_vectors() {
        let document: serde_json::Value =
            serde_json::from_str(include_str!("../../../../../fixtures/break-even/vectors.json"))
                .expect("JSON");
        let expected: Vec<i64> = serde_json::from_value(document["steps"].clone()).expect("numbers");
        assert_eq!(STEPS.as_slice(), expected);
    }
}
