//! A load series: the demand, minute by minute.
//!
//! The format is CSV with a header: `aps` (mean actions per second of a minute), optionally `peak10s`
//! (actions per second in its busiest ten seconds; the minute's mean if the column is absent), and optionally
//! `time` (Unix seconds or `2026-11-29T10:00:00Z`, ascending; minutes that are left out are gaps). Other
//! columns are rejected, so that misspelled ones are noticed.

/// One minute of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Actions requested in the minute.
    pub actions: u32,
    /// Actions in the busiest ten seconds of the minute.
    pub peak: u32,
}

/// A load series that starts at a full hour. Uses eight bytes of memory per minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    minutes: Vec<Load>,
    gaps: usize,
    first_minute: i64,
}

/// Marks an unknown minute.
const GAP: Load = Load {
    actions: u32::MAX,
    peak: u32::MAX,
};

/// Highest accepted rate, above what any namespace serves. Larger numbers are mistakes in units.
const MOST_APS: f64 = 10_000_000.0;

/// Maximum length of a series: about 38 years of minutes.
const MOST_MINUTES: usize = 20_000_000;

/// An invalid load file, with the line and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}. {remedy}")]
#[non_exhaustive]
pub struct TraceError {
    /// Line of the file, starting from 1.
    pub line: usize,
    /// What is wrong with the line.
    pub problem: String,
    /// How to fix the line.
    pub remedy: String,
}

fn refused<T>(line: usize, problem: impl Into<String>, remedy: &str) -> Result<T, TraceError> {
    Err(TraceError {
        line,
        problem: problem.into(),
        remedy: remedy.to_owned(),
    })
}

const HEADER_REMEDY: &str =
    "The first line must name the columns: `aps`, `aps,peak10s`, `time,aps` or `time,aps,peak10s`";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Aps,
    Peak,
    Time,
}

impl Trace {
    /// Parses CSV text.
    ///
    /// # Errors
    ///
    /// If the header is missing, a number is negative, absurd or invalid, a line is truncated, times do not
    /// ascend, there are no minutes, or there are too many. The error contains the line, the problem and the
    /// remedy.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        // Spreadsheets write a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.lines().enumerate();
        let header = lines.next().map_or("", |(_, header)| header);
        if text.trim().is_empty() {
            return refused(1, "the file is empty", HEADER_REMEDY);
        }
        let columns = columns(header)?;
        let mut trace = Self {
            minutes: Vec::with_capacity(text.len() / 8),
            gaps: 0,
            first_minute: 0,
        };
        let mut latest = None;
        for (index, line) in lines {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let row = Row::parse(line, index + 1, &columns)?;
            trace.add(&row, &mut latest, index + 1)?;
        }
        if trace.minutes.is_empty() {
            return refused(2, "the file has no minutes", "Add one row for each minute");
        }
        trace.minutes.shrink_to_fit();
        Ok(trace)
    }

    /// Returns a trace of minutes that starts at a full hour; `None` is a gap.
    pub fn from_minutes(minutes: impl IntoIterator<Item = Option<Load>>, first_minute: i64) -> Self {
        let minutes: Vec<Load> = minutes.into_iter().map(|minute| minute.unwrap_or(GAP)).collect();
        let gaps = minutes.iter().filter(|minute| **minute == GAP).count();
        Self {
            minutes,
            gaps,
            first_minute,
        }
    }

    fn add(&mut self, row: &Row, latest: &mut Option<i64>, line: usize) -> Result<(), TraceError> {
        if let Some(minute) = row.minute {
            if let Some(latest) = *latest
                && minute <= latest
            {
                return refused(
                    line,
                    "the time is not later than in the previous row",
                    "Sort the rows by time and keep one row for each minute",
                );
            }
            if self.minutes.is_empty() {
                self.first_minute = minute.div_euclid(60) * 60;
            }
            let expected = latest.map_or(self.first_minute, |latest| latest + 1);
            let missing = usize::try_from(minute - expected).unwrap_or(usize::MAX);
            if missing > MOST_MINUTES {
                return refused(
                    line,
                    "the gap before this row is longer than 38 years",
                    "Check the unit of the `time` column: Unix seconds or RFC 3339 in UTC",
                );
            }
            self.minutes.extend(std::iter::repeat_n(GAP, missing));
            self.gaps += missing;
            *latest = Some(minute);
        }
        self.minutes.push(row.load);
        if self.minutes.len() > MOST_MINUTES {
            return refused(
                line,
                format!("more than {MOST_MINUTES} minutes"),
                "Split the file; each row must be one minute",
            );
        }
        Ok(())
    }

    /// Returns the load of each minute; `None` is a gap.
    pub fn minutes(&self) -> impl ExactSizeIterator<Item = Option<Load>> + Clone {
        self.minutes.iter().map(|load| (*load != GAP).then_some(*load))
    }

    /// Returns the load of a minute of the series.
    pub fn minute(&self, index: usize) -> Option<Load> {
        self.minutes.get(index).copied().filter(|load| *load != GAP)
    }

    /// Returns the length of the series in minutes, including gaps.
    pub fn len(&self) -> usize {
        self.minutes.len()
    }

    /// Returns whether the series is empty.
    pub fn is_empty(&self) -> bool {
        self.minutes.is_empty()
    }

    /// Returns the number of unknown minutes.
    pub fn gaps(&self) -> usize {
        self.gaps
    }

    /// Returns the first minute in minutes since the Unix epoch, or 0 if the file has no times.
    pub fn first_minute(&self) -> i64 {
        self.first_minute
    }

    /// Returns the default number of warm-up days: all but the last seven, at most seven.
    pub fn usual_warmup_days(&self) -> usize {
        (self.minutes.len() / (24 * 60)).saturating_sub(7).min(7)
    }

    /// Returns the highest rate of ten seconds, in actions per minute.
    pub fn peak(&self) -> i64 {
        let peaks = self.minutes().flatten().map(|load| i64::from(load.peak) * 6);
        peaks.max().unwrap_or(0)
    }
}

fn columns(header: &str) -> Result<Vec<Column>, TraceError> {
    let mut columns = Vec::new();
    for name in header.split(',') {
        let column = match name.trim().trim_matches('"').to_ascii_lowercase().as_str() {
            "aps" => Column::Aps,
            "peak10s" => Column::Peak,
            "time" | "timestamp" => Column::Time,
            other if other.parse::<f64>().is_ok() => {
                return refused(1, "the header is missing", HEADER_REMEDY);
            }
            // Spreadsheets write semicolons where the decimal separator is a comma.
            other if other.contains([';', '\t']) => {
                return refused(
                    1,
                    format!("`{}` is not separated by commas", shown(other)),
                    "Separate columns with commas and write numbers with a decimal point",
                );
            }
            other => return refused(1, format!("unknown column `{}`", shown(other)), HEADER_REMEDY),
        };
        if columns.contains(&column) {
            return refused(
                1,
                format!("column `{}` appears twice", name.trim()),
                HEADER_REMEDY,
            );
        }
        columns.push(column);
    }
    if columns.contains(&Column::Aps) {
        Ok(columns)
    } else {
        refused(1, "the column `aps` is missing", HEADER_REMEDY)
    }
}

/// Formats a value for an error.
fn shown(value: &str) -> String {
    value.chars().take(40).collect()
}

struct Row {
    load: Load,
    minute: Option<i64>,
}

impl Row {
    fn parse(text: &str, line: usize, columns: &[Column]) -> Result<Self, TraceError> {
        let (mut aps, mut peak, mut minute) = (0.0, None, None);
        let mut fields = text.split(',');
        for column in columns {
            let Some(field) = fields.next().map(str::trim).filter(|field| !field.is_empty()) else {
                return refused(
                    line,
                    format!("the row has fewer than {} values", columns.len()),
                    "Complete or remove the row; a file that is still being written ends like this",
                );
            };
            match column {
                Column::Aps => aps = rate(field, line)?,
                Column::Peak => peak = Some(rate(field, line)?),
                Column::Time => minute = Some(minute_of(field, line)?),
            }
        }
        if fields.next().is_some() {
            return refused(
                line,
                format!("the row has more than {} values", columns.len()),
                "Write numbers without thousands separators and with a decimal point",
            );
        }
        let actions = whole(aps * 60.0);
        // Ten seconds cannot have more actions than their minute, but rounded columns can say so.
        let peak = whole(peak.unwrap_or(aps) * 10.0).min(actions);
        // A minute cannot be busier on average than in its busiest ten seconds.
        let peak = peak.max(actions.div_ceil(6));
        Ok(Self {
            load: Load { actions, peak },
            minute,
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate between 0 and ten million, as just checked"
)]
fn whole(value: f64) -> u32 {
    value.round() as u32
}

fn rate(field: &str, line: usize) -> Result<f64, TraceError> {
    let Ok(value) = field.parse::<f64>() else {
        return refused(
            line,
            format!("`{}` is not a number", shown(field)),
            "Write actions per second, such as 365 or 365.5; leave out rows of unknown minutes and add a `time` column",
        );
    };
    if value < 0.0 {
        return refused(line, format!("{field} is negative"), "Rates start at 0");
    }
    if !value.is_finite() || value > MOST_APS {
        return refused(
            line,
            format!("{field} actions per second is more than any namespace can have"),
            "Check the unit: the columns contain actions per second, not per minute or per day",
        );
    }
    Ok(value)
}

/// Converts Unix seconds or `2026-11-29T10:00:00Z` to minutes since the epoch.
fn minute_of(field: &str, line: usize) -> Result<i64, TraceError> {
    let seconds = field.parse::<i64>().ok().or_else(|| seconds_of(field));
    // From 1970 to the year 2242. Milliseconds would be far beyond.
    match seconds {
        Some(seconds) if (0..8_600_000_000).contains(&seconds) => Ok(seconds / 60),
        _ => refused(
            line,
            format!("`{}` is not a time", shown(field)),
            "Write Unix seconds or RFC 3339 in UTC, such as 2026-11-29T10:00:00Z",
        ),
    }
}

/// Converts `2026-11-29T10:00[:00][Z]` to Unix seconds.
fn seconds_of(field: &str) -> Option<i64> {
    let field = field.strip_suffix('Z').unwrap_or(field);
    let (date, time) = field.split_once(['T', ' '])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':').map(|part| part.parse::<f64>().ok());
    let (hour, minute) = (time.next()??, time.next()??);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(0.0..24.0).contains(&hour) {
        return None;
    }
    if !(0.0..60.0).contains(&minute) {
        return None;
    }
    // Years start in March here, so that the leap day comes last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    // Five months from March on have 153 days. 719,468 days lie between March 1 of year 0 and 1970; one
    // more, because the first day of a month is 1.
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 719_469;
    Some(days * 86_400 + i64::from(whole(hour)) * 3_600 + i64::from(whole(minute)) * 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn a_minute_without_a_peak_is_even() {
        let trace = Trace::parse("aps\n10\n0\n").expect("a trace");
        let expected = [
            Load {
                actions: 600,
                peak: 100,
            },
            Load { actions: 0, peak: 0 },
        ];
        assert_eq!(trace.minutes().flatten().collect::<Vec<_>>(), expected);
    }

    #[rstest]
    #[case::unix("time,aps\n1795971600,1\n1795971780,2\n")]
    #[case::words("time,aps\n2026-11-29T17:00:00Z,1\n2026-11-29T17:03:00Z,2\n")]
    #[case::columns_in_another_order("aps,timestamp\r\n1,2026-11-29 17:00\r\n2,2026-11-29 17:03\r\n")]
    fn minutes_that_are_left_out_are_gaps(#[case] text: &str) {
        let trace = Trace::parse(text).expect("a trace");
        let known: Vec<bool> = trace.minutes().map(|minute| minute.is_some()).collect();
        assert_eq!(known, [true, false, false, true]);
        assert_eq!((trace.gaps(), trace.first_minute()), (2, 1_795_971_600 / 60));
    }

    #[test]
    fn a_series_that_starts_within_an_hour_starts_with_a_gap() {
        let trace = Trace::parse("time,aps\n2026-11-29T17:02:00Z,1\n").expect("a trace");
        assert_eq!((trace.len(), trace.gaps()), (3, 2));
    }

    #[rstest]
    #[case::nothing("", 1, "the file is empty")]
    #[case::semicolons("aps;peak10s\n1;2\n", 1, "not separated by commas")]
    #[case::no_header("365,527\n", 1, "the header is missing")]
    #[case::misspelled("aps,peak\n1,2\n", 1, "unknown column `peak`")]
    #[case::no_rows("aps\n", 2, "has no minutes")]
    #[case::negative("aps\n1\n-4\n", 3, "-4 is negative")]
    #[case::absurd("aps\n1\n1e300\n", 3, "more than any namespace")]
    #[case::not_a_number("aps\n1\nabc\n", 3, "`abc` is not a number")]
    #[case::nan("aps\nNaN\n", 2, "more than any namespace")]
    #[case::cut_short("aps,peak10s\n1,2\n3", 3, "fewer than 2 values")]
    #[case::cut_at_the_comma("aps,peak10s\n1,2\n3,", 3, "fewer than 2 values")]
    #[case::too_many("aps\n1,000\n", 2, "more than 1 values")]
    #[case::same_minute_twice("time,aps\n60,1\n60,2\n", 3, "not later")]
    #[case::milliseconds("time,aps\n1796000400000,1\n", 2, "is not a time")]
    #[case::far_apart("time,aps\n0,1\n8500000000,1\n", 3, "the gap before this row")]
    fn bad_input_is_refused_with_line_and_remedy(
        #[case] text: &str,
        #[case] line: usize,
        #[case] problem: &str,
    ) {
        let error = Trace::parse(text).expect_err("refused");
        assert_eq!(error.line, line, "{error}");
        assert!(
            problem.split('|').any(|problem| error.problem.contains(problem)),
            "{error}"
        );
        assert!(!error.remedy.is_empty());
    }

    #[test]
    fn the_warm_up_leaves_a_week_that_counts() {
        let days = |days: usize| {
            let minutes = vec![Some(Load { actions: 0, peak: 0 }); days * 1440];
            Trace::from_minutes(minutes, 0).usual_warmup_days()
        };
        assert_eq!([1, 7, 11, 14, 35].map(days), [0, 0, 4, 7, 7]);
    }
}
