//! Maintenance windows and blackouts of stacks, in IANA time zones.
//!
//! A window is either a weekly period or a single period between two dates. Contains no I/O; the caller
//! passes the time.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// How far ahead to search for the next time when a stack may run, in hours.
const HORIZON_HOURS: i64 = 24 * 370;
/// Maximum number of boundaries to examine before a set of windows counts as never open. One year of daily
/// windows has about 740.
const MOST_BOUNDARIES: usize = 4_000;

const WEEK: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];

/// A period of time, such as `Europe/Berlin Mon-Fri 22:00-04:00` or `UTC 2026-12-24/2026-12-27`.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    text: String,
    zone: TimeZone,
    period: Period,
}

#[derive(Debug, Clone, PartialEq)]
enum Period {
    /// Days as offsets from Monday. A period that ends at or before its start time ends on the next day.
    Weekly {
        days: [bool; 7],
        from: Time,
        to: Time,
    },
    Once {
        from: DateTime,
        to: DateTime,
    },
}

/// A window that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The text has too few parts.
    #[error(
        "expected `ZONE DAYS HH:MM-HH:MM` or `ZONE DATE/DATE`, such as `Europe/Berlin Mon-Fri 22:00-04:00`"
    )]
    Form,
    /// An unknown time zone.
    #[error("`{0}` is not an IANA time zone, such as Europe/Berlin or UTC")]
    Zone(String),
    /// Unknown names of days.
    #[error(
        "`{0}` are not days; use names such as Mon, ranges such as Mon-Fri, lists such as Sat,Sun, or daily"
    )]
    Days(String),
    /// A time of day that cannot be parsed.
    #[error("`{0}` is not a time of day, such as 22:00")]
    Time(String),
    /// A date that cannot be parsed.
    #[error("`{0}` is not a date or a date with a time, such as 2026-12-24 or 2026-12-24T18:00")]
    Date(String),
    /// The period ends before it starts.
    #[error("the period ends at {to}, which is not after its start at {from}")]
    Order {
        /// Start of the period.
        from: DateTime,
        /// End of the period.
        to: DateTime,
    },
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (zone, period) = match words.as_slice() {
            [zone, dates] => (zone, once(dates)?),
            [zone, days, hours] => (zone, weekly(days, hours)?),
            _ => return Err(WindowError::Form),
        };
        let zone = TimeZone::get(zone).map_err(|_| WindowError::Zone((*zone).to_owned()))?;
        Ok(Self {
            text: words.join(" "),
            zone,
            period,
        })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn weekly(days: &str, hours: &str) -> Result<Period, WindowError> {
    let (from, to) = hours.split_once('-').ok_or(WindowError::Form)?;
    Ok(Period::Weekly {
        days: days_of(days)?,
        from: time_of(from)?,
        to: time_of(to)?,
    })
}

fn once(dates: &str) -> Result<Period, WindowError> {
    let (from, to) = dates.split_once('/').ok_or(WindowError::Form)?;
    let (from, to) = (date_of(from)?, date_of(to)?);
    if from < to {
        Ok(Period::Once { from, to })
    } else {
        Err(WindowError::Order { from, to })
    }
}

fn days_of(text: &str) -> Result<[bool; 7], WindowError> {
    let unknown = || WindowError::Days(text.to_owned());
    let day = |name: &str| {
        WEEK.iter()
            .position(|(known, _)| known.eq_ignore_ascii_case(name))
            .ok_or_else(unknown)
    };
    if text.eq_ignore_ascii_case("daily") {
        return Ok([true; 7]);
    }
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(part)?, day(part)?),
        };
        // A range such as Sat-Mon crosses the end of the week.
        for distance in 0..=(last + 7 - first) % 7 {
            days[(first + distance) % 7] = true;
        }
    }
    Ok(days)
}

fn time_of(text: &str) -> Result<Time, WindowError> {
    // The same moment, because a period that ends at or before its start time ends on the next day.
    if text == "24:00" {
        return Ok(Time::midnight());
    }
    Time::strptime("%H:%M", text).map_err(|_| WindowError::Time(text.to_owned()))
}

fn date_of(text: &str) -> Result<DateTime, WindowError> {
    // The date parser would accept a time after the date and silently drop it.
    let date = || Date::strptime("%Y-%m-%d", text).map(|date| date.at(0, 0, 0, 0));
    let parsed = if text.contains('T') {
        DateTime::strptime("%Y-%m-%dT%H:%M", text)
    } else {
        date()
    };
    parsed.map_err(|_| WindowError::Date(text.to_owned()))
}

impl Window {
    /// Returns whether the window is open at `now`.
    pub fn contains(&self, now: Timestamp) -> bool {
        // Yesterday's period may not have ended.
        self.periods(now, -1, 0).any(|(from, to)| from <= now && now < to)
    }

    /// Returns the first start or end of the window after `now`.
    fn boundary_after(&self, now: Timestamp) -> Option<Timestamp> {
        // More than a week, because today's period may have started.
        self.periods(now, -1, 8)
            .flat_map(|(from, to)| [from, to])
            .filter(|boundary| *boundary > now)
            .min()
    }

    /// Returns the periods that start between `first` and `last` days from `now`.
    fn periods(&self, now: Timestamp, first: i64, last: i64) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let instant = |at: DateTime| self.zone.to_timestamp(at).ok();
        let today = self.zone.to_datetime(now).date();
        let starts: Vec<_> = match &self.period {
            Period::Once { from, to } => vec![(*from, *to)],
            Period::Weekly { days, from, to } => (first..=last)
                .filter_map(|distance| today.checked_add(distance.days()).ok())
                .filter(|date| days[usize::from(date.weekday().to_monday_zero_offset().unsigned_abs())])
                .filter_map(|date| {
                    let ends = if to > from { date } else { date.tomorrow().ok()? };
                    Some((date.to_datetime(*from), ends.to_datetime(*to)))
                })
                .collect(),
        };
        starts
            .into_iter()
            .filter_map(move |(from, to)| Some((instant(from)?, instant(to)?)))
    }
}

/// Returns whether a stack may run at `now`: within a window, if there are any, and outside all blackouts.
pub fn is_open(windows: &[Window], blackouts: &[Window], now: Timestamp) -> bool {
    (windows.is_empty() || windows.iter().any(|window| window.contains(now)))
        && !blackouts.iter().any(|blackout| blackout.contains(now))
}

/// Returns the first time from `now` on when a stack may run; `None` if there is none within a year.
pub fn next_open(windows: &[Window], blackouts: &[Window], now: Timestamp) -> Option<Timestamp> {
    let horizon = now.checked_add(HORIZON_HOURS.hours()).ok()?;
    let mut moment = now;
    for _ in 0..MOST_BOUNDARIES {
        if is_open(windows, blackouts, moment) {
            return Some(moment);
        }
        // Whether a stack may run changes only at the boundaries of windows and blackouts.
        moment = windows
            .iter()
            .chain(blackouts)
            .filter_map(|it| it.boundary_after(moment))
            .min()?;
        if moment > horizon {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    fn window(text: &str) -> Window {
        text.parse().expect("a window")
    }

    #[rstest]
    #[case::inside("Europe/Berlin Mon-Fri 22:00-04:00", "2026-11-30T22:30:00Z", true)]
    #[case::the_night_belongs_to_the_day_it_starts_on(
        "Europe/Berlin Fri 22:00-04:00",
        "2026-12-05T02:00:00Z",
        true
    )]
    #[case::before_it_starts("Europe/Berlin Mon-Fri 22:00-04:00", "2026-11-30T20:59:00Z", false)]
    #[case::the_end_is_outside("UTC daily 09:00-17:00", "2026-11-30T17:00:00Z", false)]
    #[case::the_start_is_inside("UTC daily 09:00-17:00", "2026-11-30T09:00:00Z", true)]
    #[case::over_the_end_of_the_week("UTC Sat-Mon 00:00-24:00", "2026-11-30T12:00:00Z", true)]
    #[case::not_on_other_days("UTC Sat-Mon 00:00-24:00", "2026-12-01T12:00:00Z", false)]
    #[case::summer_time_shifts_with_the_zone(
        "America/New_York daily 02:00-03:00",
        "2026-07-01T06:30:00Z",
        true
    )]
    #[case::dates("UTC 2026-12-24/2026-12-27", "2026-12-26T23:59:59Z", true)]
    #[case::the_last_date_is_outside("UTC 2026-12-24/2026-12-27", "2026-12-27T00:00:00Z", false)]
    fn a_window_is_open_from_its_start_to_before_its_end(
        #[case] text: &str,
        #[case] now: &str,
        #[case] open: bool,
    ) {
        assert_eq!(window(text).contains(at(now)), open);
    }

    #[rstest]
    #[case::zone("Mars/Base Mon 10:00-11:00", "`Mars/Base` is not an IANA time zone")]
    #[case::day("UTC Mo 10:00-11:00", "`Mo` are not days")]
    #[case::time("UTC Mon 25:00-11:00", "`25:00` is not a time of day")]
    #[case::parts("UTC", "expected `ZONE DAYS HH:MM-HH:MM`")]
    #[case::order("UTC 2026-12-27/2026-12-24", "not after its start")]
    #[case::date("UTC 2026-13-01/2026-12-24", "`2026-13-01` is not a date")]
    fn a_mistake_is_reported(#[case] text: &str, #[case] expected: &str) {
        let error = text.parse::<Window>().expect_err("a mistake").to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn the_next_open_moment_is_after_window_and_blackout() {
        let windows = [window("Europe/Berlin Mon-Fri 22:00-04:00")];
        let blackouts = [window("Europe/Berlin 2026-12-24/2026-12-28")];
        let next = next_open(&windows, &blackouts, at("2026-12-24T12:00:00Z"));
        // Monday, December 28, 22:00 in Berlin, because the window of Friday night would be over by then.
        assert_eq!(next, Some(at("2026-12-28T21:00:00Z")));
    }

    #[test]
    fn a_window_inside_its_own_blackout_never_opens() {
        let windows = [window("UTC daily 10:00-11:00")];
        assert_eq!(
            next_open(
                &windows,
                &[window("UTC daily 09:00-12:00")],
                at("2026-12-24T12:00:00Z")
            ),
            None
        );
        assert_eq!(
            next_open(
                &[window("UTC 2020-01-01/2020-01-02")],
                &[],
                at("2026-12-24T12:00:00Z")
            ),
            None
        );
    }

    #[test]
    fn a_window_that_starts_in_the_gap_of_summer_time_opens_after_it() {
        // On March 29, 2026 Berlin has no 02:30.
        let night = [window("Europe/Berlin daily 02:30-05:00")];
        let next = next_open(&night, &[], at("2026-03-29T00:00:00Z")).expect("open");
        assert!(
            night[0].contains(next) && next < at("2026-03-29T03:00:00Z"),
            "{next}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn next_open_agrees_with_a_scan_of_minutes(
            start in 1_774_000_000_i64..1_775_500_000, day in 0..7_usize, from in 0..24_i8, hours in 1..20_i8, dark in 0..24_i8,
        ) {
            // The range covers the change to summer time in Berlin and New York.
            let start = Timestamp::from_second(start - start % 60).expect("in range");
            let to = (from + hours) % 24;
            let windows = [window(&format!("Europe/Berlin {} {from:02}:00-{to:02}:30", WEEK[day].0))];
            let blackouts = [window(&format!("America/New_York daily {dark:02}:00-{:02}:00", (dark + 3) % 24))];
            let scanned = (0..10 * 24 * 60)
                .map(|minute| start.checked_add(minute.minutes()).expect("in range"))
                .find(|moment| is_open(&windows, &blackouts, *moment));
            let found = next_open(&windows, &blackouts, start);
            if let Some(scanned) = scanned {
                prop_assert_eq!(found, Some(scanned));
            }
        }
    }
}
