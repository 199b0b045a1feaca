//! The measured figures and their targets.

use std::fmt;

/// The figures in the order they were added.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    what: String,
    value: String,
    /// The target, and whether it was met.
    target: Option<(String, bool)>,
}

impl Figures {
    /// Adds a figure without a target.
    pub(crate) fn add(&mut self, what: impl Into<String>, value: impl Into<String>) {
        let (what, value) = (what.into(), value.into());
        self.rows.push(Row {
            what,
            value,
            target: None,
        });
    }

    /// Adds a figure with a target that it must not exceed.
    pub(crate) fn at_most(&mut self, what: impl Into<String>, value: f64, target: f64, unit: &str) {
        self.rows.push(Row {
            what: what.into(),
            value: format!("{value:.2} {unit}"),
            target: Some((format!("{target:.2} {unit}"), value <= target)),
        });
    }

    /// Returns whether a target was missed.
    pub(crate) fn has_missed(&self) -> bool {
        let mut targets = self.rows.iter().filter_map(|row| row.target.as_ref());
        targets.any(|(_, is_met)| !is_met)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Row { what, value, target } in &self.rows {
            write!(f, "  {what:<62}{value:>18}")?;
            match target {
                Some((target, true)) => writeln!(f, "   (target: {target})")?,
                Some((target, false)) => writeln!(f, "   MISSED (target: {target})")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}
