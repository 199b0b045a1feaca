//! Parameters of the policy, and their text form: `delay_value=0.5`.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Minimum actions an hour for each TRU after the first; unused ones are billed.
pub(super) const TRU_HOUR: i64 = 360_000;

/// Number of hours remembered with seven days of history.
pub(super) const MOST_HOURS: usize = 169;

// Exhaustive: the specification of the policy defines its fields.
/// Parameters of the policy that an operator can set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// Cost of delaying one action by one minute, in thousandths of an action. Default 1,000. A low value
    /// accepts throttling.
    pub delay_milli: i64,
    /// Throttling that costs less than this is ignored, in thousandths of a TRU-hour. Default 100. A high
    /// value ignores short bursts.
    pub let_pass_milli: i64,
    /// Cost of a change, in thousandths of a TRU-hour. Default 100. Zero changes the size for the smallest
    /// gain.
    pub move_milli: i64,
    /// A scale-up is sized for this percentage of the current demand. Default 100. Below 100, the namespace
    /// stays throttled.
    pub margin_percent: i64,
    /// Number of minutes before the end of an hour that predict the next one. Default 15. A smaller size must
    /// carry the peak of these minutes only, so a short look-back ignores an earlier peak.
    pub look_back_minutes: usize,
    /// Days of history to use, from 0 to 7. Default 7. Zero predicts from the current hour alone and ignores
    /// daily patterns.
    pub history_days: usize,
    /// Also keep TRUs whose minimum is covered by this percentage of the load in the day's quietest hour.
    /// Default 0, which turns this off.
    pub free_share_percent: i64,
    /// TRUs that are never released. Default 0, for none. Each after the first costs 360,000 actions an hour,
    /// used or not.
    pub min_trus: u32,
    /// Maximum TRUs. Default 12. A namespace that needs more stays throttled.
    pub max_trus: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            delay_milli: 1000,
            let_pass_milli: 100,
            move_milli: 100,
            margin_percent: 100,
            look_back_minutes: 15,
            history_days: 7,
            free_share_percent: 0,
            min_trus: 0,
            max_trus: 12,
        }
    }
}

impl Parameters {
    pub(super) fn let_pass(&self) -> i64 {
        self.let_pass_milli * TRU_HOUR / 1000
    }

    pub(super) fn change_cost(&self) -> i64 {
        self.move_milli * TRU_HOUR / 1000
    }

    pub(super) fn remembered_hours(&self) -> usize {
        // One more than whole days: the ending hour is compared with the same hour of every remembered day.
        // Even without history a day is kept, since a scale-up estimates from it how long a burst lasts.
        (24 * self.history_days + 1).clamp(25, MOST_HOURS)
    }
}

/// An invalid parameter, with its remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParameterError(String);

impl Parameters {
    /// Parameters that can be set by name.
    pub const NAMES: &str =
        "delay_value, let_pass, margin, look_back_minutes, history_days, free_share, min_trus, max_trus";

    /// Parses comma-separated assignments: `delay_value=0.5,history_days=0`.
    ///
    /// # Errors
    ///
    /// If a name is unknown, a value is out of range, or the bounds contradict each other.
    pub fn parse(text: &str) -> Result<Self, ParameterError> {
        let mut parameters = Self::default();
        for assignment in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            let (name, value) = assignment.split_once('=').ok_or_else(|| {
                ParameterError(format!(
                    "use NAME=VALUE, not `{assignment}`; names are {}",
                    Self::NAMES
                ))
            })?;
            parameters.set(name.trim(), value.trim())?;
        }
        parameters.check()?;
        Ok(parameters)
    }

    /// Sets one parameter by its name.
    ///
    /// # Errors
    ///
    /// If the name is unknown or the value is out of range.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ParameterError> {
        match name {
            "delay_value" => self.delay_milli = in_parts(name, value, 1000, (1, 100_000))?,
            "let_pass" => self.let_pass_milli = in_parts(name, value, 1000, (0, 10_000))?,
            "margin" => self.margin_percent = in_parts(name, value, 100, (100, 300))?,
            "free_share" => self.free_share_percent = in_parts(name, value, 100, (0, 100))?,
            "look_back_minutes" => self.look_back_minutes = whole(name, value, (5, 60))?,
            "history_days" => self.history_days = whole(name, value, (0, 7))?,
            "min_trus" => self.min_trus = trus(name, value)?,
            "max_trus" => self.max_trus = trus(name, value)?,
            _ => {
                return Err(ParameterError(format!(
                    "unknown policy parameter `{name}`; choose from {}",
                    Self::NAMES
                )));
            }
        }
        Ok(())
    }

    /// Returns every parameter that can be set with its value, in the form that [`Parameters::set`] accepts.
    pub fn assignments(&self) -> BTreeMap<String, String> {
        let parts = |number: i64, scale: u32| Decimal::new(number, scale).normalize().to_string();
        [
            ("delay_value", parts(self.delay_milli, 3)),
            ("let_pass", parts(self.let_pass_milli, 3)),
            ("margin", parts(self.margin_percent, 2)),
            ("free_share", parts(self.free_share_percent, 2)),
            ("look_back_minutes", self.look_back_minutes.to_string()),
            ("history_days", self.history_days.to_string()),
            ("min_trus", self.min_trus.to_string()),
            ("max_trus", self.max_trus.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// Checks that the bounds are consistent.
    ///
    /// # Errors
    ///
    /// If they contradict each other or are not available sizes.
    pub fn check(&self) -> Result<(), ParameterError> {
        if self.min_trus <= self.max_trus {
            return Ok(());
        }
        Err(ParameterError(format!(
            "min_trus={} is above max_trus={}; lower one or raise the other",
            self.min_trus, self.max_trus
        )))
    }
}

fn trus(name: &str, value: &str) -> Result<u32, ParameterError> {
    let trus: u32 = whole(name, value, (0, 12))?;
    // Settings are parsed before any ladder is read. The guards handle a ladder with other sizes.
    if [0, 2, 3, 4, 6, 8, 10, 12].contains(&trus) {
        return Ok(trus);
    }
    Err(ParameterError(format!(
        "{name}={trus} is not an available size; use 0, 2, 3, 4, 6, 8, 10 or 12"
    )))
}

/// Parses a decimal as a whole number of `1 / parts`.
fn in_parts(name: &str, value: &str, parts: i64, (least, most): (i64, i64)) -> Result<i64, ParameterError> {
    let bound = |bound: i64| (Decimal::from(bound) / Decimal::from(parts)).normalize();
    let in_parts = Decimal::from_str_exact(value)
        .ok()
        .and_then(|number| number.checked_mul(Decimal::from(parts)))
        .and_then(|number| i64::try_from(number.round()).ok())
        .filter(|number| (least..=most).contains(number));
    in_parts.ok_or_else(|| {
        ParameterError(format!(
            "{name}={value} is out of range; use a number from {} to {}",
            bound(least),
            bound(most)
        ))
    })
}

fn whole<Number>(name: &str, value: &str, (least, most): (Number, Number)) -> Result<Number, ParameterError>
where
    Number: std::str::FromStr + PartialOrd + std::fmt::Display + Copy,
{
    let number = value
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| {
        ParameterError(format!(
            "{name}={value} is out of range; use a whole number from {least} to {most}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_can_be_formatted_and_parsed_again() {
        let parameters =
            Parameters::parse("delay_value=0.05,margin=1.25,free_share=0.5,min_trus=2").expect("valid");
        let assignments = parameters.assignments();
        let names: Vec<&str> = Parameters::NAMES.split(", ").collect();
        assert_eq!(assignments.len(), names.len());
        assert!(names.iter().all(|name| assignments.contains_key(*name)));
        let mut read = Parameters::default();
        for (name, value) in &assignments {
            read.set(name, value).expect("valid");
        }
        assert_eq!(read, parameters);
    }

    #[test]
    fn assignments_are_parsed_and_invalid_ones_are_named() {
        let parameters = Parameters::parse("delay_value=0.1, margin=1.25,").expect("valid");
        assert_eq!((parameters.delay_milli, parameters.margin_percent), (100, 125));
        let refused = |text: &str| Parameters::parse(text).expect_err("refused").to_string();
        assert!(refused("speed=1").contains("choose from delay_value"));
        assert!(refused("margin").contains("NAME=VALUE"));
        assert!(refused("min_trus=4,max_trus=2").contains("above max_trus=2"));
    }
}
