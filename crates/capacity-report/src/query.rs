//! The scope of a report: a range of whole hours, an account, and namespaces.

use capacity_engine::NamespacePatterns;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::error::ReportError;

const SECONDS: i64 = 3_600;

/// Maximum range of a report: 366 days, in hours.
const MOST_HOURS: i64 = 366 * 24;

/// A range of whole calendar hours (UTC), counted since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The first hour.
    pub from_hour: i64,
    /// The hour after the last.
    pub to_hour: i64,
}

impl Span {
    /// Returns the beginning of the range.
    pub fn from(self) -> Timestamp {
        start_of_hour(self.from_hour)
    }

    /// Returns the end of the range.
    pub fn to(self) -> Timestamp {
        start_of_hour(self.to_hour)
    }

    /// Returns the number of hours.
    pub fn hours(self) -> i64 {
        self.to_hour - self.from_hour
    }

    /// Returns whether the range contains an hour.
    pub fn contains(self, hour: i64) -> bool {
        (self.from_hour..self.to_hour).contains(&hour)
    }
}

/// Returns the hour since 1970 that contains a time.
pub(crate) fn hour_of(time: Timestamp) -> i64 {
    time.as_second().div_euclid(SECONDS)
}

/// Returns the beginning of an hour since 1970.
pub(crate) fn start_of_hour(hour: i64) -> Timestamp {
    Timestamp::from_second(hour.saturating_mul(SECONDS)).unwrap_or_default()
}

// Exhaustive: callers use struct update syntax (`..`), so a new field gets its default.
/// The scope of a report.
#[derive(Debug, Clone)]
pub struct Query {
    /// Beginning of the range; by default seven days before its end.
    pub from: Option<Timestamp>,
    /// End of the range; by default the end of the last full hour.
    pub to: Option<Timestamp>,
    /// The account; required if the ledger has several.
    pub account: Option<String>,
    /// Bare or full names with wildcards; empty means all.
    pub namespaces: Vec<String>,
    /// The current time.
    pub now: Timestamp,
}

impl Query {
    /// Returns a query for the seven days before the end of the last full hour, for all namespaces.
    pub fn last_week(now: Timestamp) -> Self {
        Self {
            from: None,
            to: None,
            account: None,
            namespaces: Vec::new(),
            now,
        }
    }

    /// Returns the whole hours of the range: from the hour of `from` to the hour that ends at or after `to`, excluding hours that
    /// are not over.
    ///
    /// # Errors
    ///
    /// If no full hour is left.
    pub fn span(&self) -> Result<Span, ReportError> {
        let over = hour_of(self.now);
        let ceiling = |time: Timestamp| {
            let whole = time.as_second().rem_euclid(SECONDS) == 0 && time.subsec_nanosecond() == 0;
            hour_of(time) + i64::from(!whole)
        };
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from >= to
        {
            return Err(ReportError::Backwards { from, to });
        }
        let to_hour = self.to.map_or(over, ceiling).min(over);
        let week = SignedDuration::from_hours(7 * 24).as_hours();
        let from_hour = self.from.map_or(to_hour - week, hour_of);
        let span = Span { from_hour, to_hour };
        if span.hours() <= 0 {
            return Err(ReportError::NoFullHour {
                from: self.from.unwrap_or_else(|| start_of_hour(from_hour)),
                to: self.to.map_or(self.now, |to| to.min(self.now)),
            });
        }
        if span.hours() > MOST_HOURS {
            return Err(ReportError::TooLong {
                days: span.hours() / 24,
            });
        }
        Ok(span)
    }

    /// Selects one of the ledger's accounts.
    pub(crate) fn account(&self, known: &[String], ledger: &str) -> Result<String, ReportError> {
        let ledger = ledger.to_owned();
        match (&self.account, known) {
            (_, []) => Err(ReportError::EmptyLedger(ledger)),
            (Some(account), known) if known.contains(account) => Ok(account.clone()),
            (Some(account), known) => Err(ReportError::UnknownAccount {
                ledger,
                account: account.clone(),
                known: known.to_vec(),
            }),
            (None, [only]) => Ok(only.clone()),
            (None, known) => Err(ReportError::SeveralAccounts {
                ledger,
                known: known.to_vec(),
            }),
        }
    }

    /// Returns the patterns, if there are any.
    pub(crate) fn patterns(&self) -> Result<Option<NamespacePatterns>, ReportError> {
        if self.namespaces.is_empty() {
            return Ok(None);
        }
        Ok(Some(NamespacePatterns::try_new(&self.namespaces)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn query(from: Option<&str>, to: Option<&str>) -> Query {
        Query {
            from: from.map(at),
            to: to.map(at),
            ..Query::last_week(at("2026-11-29T10:20:00Z"))
        }
    }

    #[rstest]
    #[case::last_week(None, None, "2026-11-22T10:00:00Z", "2026-11-29T10:00:00Z")]
    #[case::widened_to_hours(
        Some("2026-11-25T08:59:00Z"),
        Some("2026-11-25T09:01:00Z"),
        "2026-11-25T08:00:00Z",
        "2026-11-25T10:00:00Z"
    )]
    #[case::exact(
        Some("2026-11-25T08:00:00Z"),
        Some("2026-11-25T09:00:00Z"),
        "2026-11-25T08:00:00Z",
        "2026-11-25T09:00:00Z"
    )]
    #[case::the_running_hour_is_left_out(
        Some("2026-11-29T08:00:00Z"),
        Some("2026-12-29T09:00:00Z"),
        "2026-11-29T08:00:00Z",
        "2026-11-29T10:00:00Z"
    )]
    fn a_report_covers_whole_hours_that_are_over(
        #[case] from: Option<&str>,
        #[case] to: Option<&str>,
        #[case] begins: &str,
        #[case] ends: &str,
    ) {
        let span = query(from, to).span().expect("a span");
        assert_eq!((span.from(), span.to()), (at(begins), at(ends)));
    }

    #[rstest]
    #[case::turned_round(
        Some("2026-11-25T09:00:00Z"),
        Some("2026-11-25T08:00:00Z"),
        "is not before --to"
    )]
    #[case::nothing_over(Some("2026-11-29T10:00:00Z"), None, "no complete hour")]
    #[case::future(Some("2027-01-01T00:00:00Z"), None, "no complete hour")]
    #[case::endless(Some("2020-01-01T00:00:00Z"), None, "at most 366")]
    fn a_range_without_full_hours_is_refused(
        #[case] from: Option<&str>,
        #[case] to: Option<&str>,
        #[case] text: &str,
    ) {
        let error = query(from, to).span().expect_err("refused").to_string();
        assert!(error.contains(text), "{error}");
    }

    #[test]
    fn an_account_is_selected_only_if_it_is_unambiguous() {
        let mut query = query(None, None);
        let known = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let chosen = |query: &Query, names: &[&str]| query.account(&known(names), "ledger.db");
        assert_eq!(chosen(&query, &["a1b2c"]).expect("one"), "a1b2c");
        let several = chosen(&query, &["a1b2c", "z9y8x"]).expect_err("two").to_string();
        assert!(several.contains("Choose one with --account"), "{several}");
        query.account = Some("other".to_owned());
        let other = chosen(&query, &["a1b2c"]).expect_err("another").to_string();
        assert!(
            other.contains("has no data for account other; it has data for a1b2c"),
            "{other}"
        );
        let empty = chosen(&query, &[]).expect_err("empty").to_string();
        assert!(empty.contains("is empty"), "{empty}");
    }
}
