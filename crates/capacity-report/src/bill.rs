//! Fetches the billing report for the months of a report.

use std::time::Duration;

use cloud_ops_client::{
    BillingFileFormat, BillingGranularity, BillingReport, BillingReportSpec, BillingReportState, Client,
    read_charges,
};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::error::ReportError;
use crate::reconcile::Bill;

/// Maximum time to wait for a billing report. Temporal Cloud generates one at a time per account.
const LONGEST: Duration = Duration::from_mins(20);

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Validity of the download URL.
// The service's default is 5 minutes, and its maximum an hour.
const DOWNLOAD: &str = "1800s";

/// A billing report that was downloaded and parsed.
#[derive(Debug)]
#[non_exhaustive]
pub struct FetchedBill {
    /// Id of the billing report.
    pub billing_report_id: String,
    /// Time when it was generated.
    pub made: Timestamp,
    /// Content of the report.
    pub bill: Bill,
}

/// Requests the billing report for the months between two times, waits until it is ready, downloads it and
/// parses it. `progress` is called for each step.
///
/// # Errors
///
/// If the service no longer keeps the hours, the key lacks the role, the report fails or takes too long, or
/// the file is truncated or not a billing report. The error contains the remedy.
pub async fn fetch_bill(
    client: &Client,
    from: Timestamp,
    to: Timestamp,
    now: Timestamp,
    mut progress: impl FnMut(String),
) -> Result<FetchedBill, ReportError> {
    let spec = spec(from, to, now)?;
    progress("requesting the billing report".to_owned());
    let created = client
        .create_billing_report(&spec, &operation_id(&spec, now))
        .await
        .map_err(ReportError::of_bill)?;
    let id = created.billing_report_id;
    let report = made(client, &id, &mut progress).await?;
    let mut bill = Bill::default();
    let mut rows = 0;
    for file in &report.download_info {
        if !matches!(
            file.file_format,
            // CSV is the only format so far, so one that is left out is CSV.
            BillingFileFormat::Csv | BillingFileFormat::Unspecified
        ) {
            continue;
        }
        progress("downloading the billing report".to_owned());
        let text = client
            .download_billing_file(file)
            .await
            .map_err(ReportError::of_bill)?;
        rows += read_charges(&text, |charge| bill.add(&charge)).map_err(ReportError::of_bill)?;
    }
    if report.download_info.is_empty() || rows == 0 {
        return Err(ReportError::EmptyBill {
            id,
            from: spec.start_time_inclusive,
            to: spec.end_time_exclusive,
        });
    }
    Ok(FetchedBill {
        billing_report_id: id,
        made: report.generated_time.unwrap_or(now),
        bill,
    })
}

async fn made(
    client: &Client,
    id: &str,
    progress: &mut impl FnMut(String),
) -> Result<BillingReport, ReportError> {
    let begun = std::time::Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        let report = client.billing_report(id).await.map_err(ReportError::of_bill)?;
        match report.state {
            BillingReportState::Generated => return Ok(report),
            BillingReportState::Failed => {
                return Err(ReportError::BillNotMade(id.to_owned()));
            }
            BillingReportState::InProgress
            // Unknown states count as unfinished, within the time limit.
            | BillingReportState::Unspecified
            | BillingReportState::Other(_) => {}
        }
        if begun.elapsed() + wait > LONGEST {
            return Err(ReportError::BillSlow {
                id: id.to_owned(),
                state: report.state,
                minutes: LONGEST.as_secs() / 60,
            });
        }
        progress(format!("waiting for billing report {id}: {}", report.state));
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Returns the whole months of a range.
fn spec(from: Timestamp, to: Timestamp, now: Timestamp) -> Result<BillingReportSpec, ReportError> {
    let month = |time: Timestamp| time.to_zoned_datetime(TimeZone::UTC).date().first_of_month();
    let after = |date: Date| date.checked_add(1.month());
    let before = |date: Date| date.checked_sub(1.month());
    let start_of = |date: Date| {
        date.to_zoned_datetime(TimeZone::UTC)
            .map(|zoned| zoned.timestamp())
    };
    let beyond = |_| ReportError::BeyondCalendar;
    let first = month(from);
    // `to` is exclusive: a range that ends when a month begins does not need that month.
    let last = month(to.checked_sub(1.second()).map_err(beyond)?);
    // Hourly reports exist for the current and the previous month only.
    let kept = before(month(now)).map_err(beyond)?;
    if first < kept {
        return Err(ReportError::NoLongerKept {
            kept,
            from: from.to_zoned_datetime(TimeZone::UTC).date(),
        });
    }
    Ok(BillingReportSpec {
        start_time_inclusive: start_of(first).map_err(beyond)?,
        end_time_exclusive: after(last).and_then(start_of).map_err(beyond)?,
        granularity: BillingGranularity::Hourly,
        download_url_expiration_duration: DOWNLOAD.to_owned(),
        description: "temporal-capacity report --reconcile".to_owned(),
    })
}

/// Returns the operation id, which is the same for retries of a request, but different for the next run.
fn operation_id(spec: &BillingReportSpec, now: Timestamp) -> String {
    let name = format!(
        "billing-report/{}/{}/{}",
        spec.start_time_inclusive,
        spec.end_time_exclusive,
        now.as_nanosecond()
    );
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, name.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[rstest]
    #[case::within_a_month("2026-11-03T10:00:00Z", "2026-11-10T10:00:00Z", "2026-11-01", "2026-12-01")]
    #[case::over_two_months("2026-10-28T10:00:00Z", "2026-11-04T10:00:00Z", "2026-10-01", "2026-12-01")]
    #[case::a_whole_month("2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z", "2026-10-01", "2026-11-01")]
    fn a_billing_report_covers_whole_months(
        #[case] from: &str,
        #[case] to: &str,
        #[case] first: &str,
        #[case] after: &str,
    ) {
        let spec = spec(at(from), at(to), at("2026-11-29T10:00:00Z")).expect("kept");
        let midnight = |date: &str| at(&format!("{date}T00:00:00Z"));
        assert_eq!(
            (spec.start_time_inclusive, spec.end_time_exclusive),
            (midnight(first), midnight(after))
        );
    }

    #[test]
    fn hours_that_are_no_longer_kept_are_refused() {
        let error = spec(
            at("2026-09-30T23:00:00Z"),
            at("2026-10-02T00:00:00Z"),
            at("2026-11-29T10:00:00Z"),
        );
        let error = error.expect_err("too old").to_string();
        assert!(
            error.contains("from 2026-10-01; the range begins on 2026-09-30"),
            "{error}"
        );
    }
}
