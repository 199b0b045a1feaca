//! Billing reports: generated one at a time, for whole months, as a CSV file with the columns in Temporal's
//! documentation (Cloud Billing API page). Hourly only.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::billing_report::BillingReport;
use crate::cloud::Cloud;
use crate::faults::BillingFault;
use crate::refusal::Refusal;

/// Minimum time between the end of an hour and a report that contains it.
const NOT_YET: SignedDuration = SignedDuration::from_hours(24);

/// Default and maximum validity of a download URL.
const USUAL_DOWNLOAD: SignedDuration = SignedDuration::from_mins(5);
const LONGEST_DOWNLOAD: SignedDuration = SignedDuration::from_hours(1);

const HEADER: [&str; 27] = [
    "BillingAccountID",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "ContractedUnitPrice",
    "InvoiceID",
    "InvoiceIssuer",
    "PricingQuantity",
    "PricingUnit",
    "Provider",
    "Publisher",
    "ResourceID",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SKUID",
    "SKUMeter",
    "Tags",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Request {
    spec: Spec,
    #[serde(default, alias = "async_operation_id")]
    async_operation_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    #[serde(alias = "start_time_inclusive")]
    start_time_inclusive: Timestamp,
    #[serde(alias = "end_time_exclusive")]
    end_time_exclusive: Timestamp,
    #[serde(default, alias = "download_url_expiration_duration")]
    download_url_expiration_duration: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    granularity: Option<String>,
}

impl Cloud {
    /// Adds a request, or returns the existing one for a retry.
    pub(crate) fn create_billing_report(&mut self, body: &[u8]) -> Result<Value, Refusal> {
        let now = self.now();
        let invalid = |text: String| Refusal::new(400, 3, text);
        let request: Request =
            serde_json::from_slice(body).map_err(|error| invalid(format!("invalid body: {error}")))?;
        if let Some(known) = self
            .billing_reports
            .iter()
            .find(|it| !it.operation.is_empty() && it.operation == request.async_operation_id)
        {
            return Ok(known.created(now));
        }
        let Spec {
            start_time_inclusive: start,
            end_time_exclusive: end,
            download_url_expiration_duration,
            description,
            granularity,
        } = request.spec;
        if !is_month(start) || !is_month(end) || start >= end {
            return Err(invalid(
                "the time range must use billing month boundaries".to_owned(),
            ));
        }
        if !matches!(
            granularity.as_deref(),
            None | Some("BILLING_REPORT_GRANULARITY_HOURLY" | "BILLING_REPORT_GRANULARITY_UNSPECIFIED")
        ) {
            return Err(Refusal::new(
                501,
                12,
                "this simulator generates hourly reports only",
            ));
        }
        let previous = month_of(now).checked_sub(1.month()).ok();
        if previous.is_none_or(|previous| start < at_midnight(previous)) {
            return Err(invalid(
                "hourly reports are available for the current and the previous billing month only".to_owned(),
            ));
        }
        let download_for = match download_url_expiration_duration.as_deref() {
            None | Some("") => USUAL_DOWNLOAD,
            Some(text) => seconds(text)
                .filter(|it| *it > SignedDuration::ZERO && *it <= LONGEST_DOWNLOAD)
                .ok_or_else(|| invalid("the download url expiration must be at most 1 hour".to_owned()))?,
        };
        // Requests are queued while another one is processed.
        let begins = self
            .billing_reports
            .iter()
            .map(|it| it.ready)
            .fold(now, Timestamp::max);
        let number = self.billing_reports.len() + 1;
        let report = BillingReport {
            id: format!("billing-report-{number}"),
            operation: if request.async_operation_id.is_empty() {
                format!("random-{:016x}", self.random.u64(..))
            } else {
                request.async_operation_id
            },
            spec: json!({
                "startTimeInclusive": start,
                "endTimeExclusive": end,
                "downloadUrlExpirationDuration": format!("{}s", download_for.as_secs()),
                "description": description,
                "granularity": "BILLING_REPORT_GRANULARITY_HOURLY",
            }),
            start,
            end,
            download_for,
            requested: now,
            ready: begins
                .saturating_add(self.options.billing_report_lag)
                .unwrap_or(begins),
            token: self.random.u64(..),
            file: None,
        };
        let answer = report.created(now);
        self.billing_reports.push(report);
        Ok(answer)
    }

    /// Returns the state of a report. `host` is the host of the download URL.
    pub(crate) fn billing_report(&mut self, id: &str, host: &str) -> Result<Value, Refusal> {
        let now = self.now();
        let fault = self.faults.billing;
        let index = self.billing_reports.iter().position(|it| it.id == id);
        let index = index.ok_or_else(|| Refusal::new(404, 5, format!("billing report {id} not found")))?;
        let is_ready = now >= self.billing_reports[index].ready && fault != BillingFault::NeverReady;
        // Kept, because a report does not change after it was generated.
        if is_ready && self.billing_reports[index].file.is_none() {
            let file = file(self, &self.billing_reports[index]);
            self.billing_reports[index].file = Some(file);
        }
        let report = &self.billing_reports[index];
        let mut answer = json!({
            "id": report.id,
            "spec": report.spec,
            "state": "BILLING_REPORT_STATE_IN_PROGRESS",
            "requestedTime": report.requested,
            "asyncOperationId": report.operation,
        });
        if is_ready && fault == BillingFault::Failed {
            answer["state"] = json!("BILLING_REPORT_STATE_FAILED");
        } else if let (true, Some(file)) = (is_ready, &report.file) {
            answer["state"] = json!("BILLING_REPORT_STATE_GENERATED");
            answer["generatedTime"] = json!(report.ready);
            answer["downloadInfo"] = json!([{
                "url": format!("http://{host}/billing-files/{}/{:016x}.csv?signature=simulated", report.id, report.token),
                "urlExpirationTime": report.expires(),
                "fileFormat": "FILE_FORMAT_CSV",
                "fileSizeBytes": file.len().to_string(),
            }]);
        }
        Ok(json!({ "billingReport": answer }))
    }

    /// Returns the file of a report, if the URL is right and still valid.
    pub(crate) fn billing_file(&mut self, id: &str, name: &str) -> Result<String, &'static str> {
        let now = self.now();
        let fault = self.faults.billing;
        let report = self
            .billing_reports
            .iter()
            .find(|it| it.id == id && name == format!("{:016x}.csv", it.token));
        let report = report.ok_or("NoSuchKey")?;
        let file = report.file.clone().ok_or("NoSuchKey")?;
        if fault == BillingFault::ExpiredAddress || now >= report.expires() {
            return Err("AccessDenied: Request has expired");
        }
        Ok(match fault {
            BillingFault::CutShort => file[..file.len() * 2 / 3].to_owned(),
            _ => file,
        })
    }
}

/// Writes the file: a row for every namespace and hour with billed actions.
fn file(cloud: &Cloud, report: &BillingReport) -> String {
    let fault = cloud.faults.billing;
    let mut columns = HEADER.map(str::to_owned);
    if fault == BillingFault::OtherColumns {
        // The place of `ContractedCost`.
        "BilledCost".clone_into(&mut columns[10]);
    }
    let mut text = columns.join(",");
    text.push('\n');
    let currency = if fault == BillingFault::OtherCurrency {
        "EUR"
    } else {
        "USD (cents)"
    };
    let known = report.ready.saturating_sub(NOT_YET).unwrap_or(report.ready);
    let cents = cloud.options.price_per_million * Decimal::ONE_HUNDRED;
    for namespace in &cloud.namespaces {
        for (hour, bill) in &namespace.bills {
            let start = Timestamp::from_second(hour * 3_600).unwrap_or_default();
            let end = Timestamp::from_second((hour + 1) * 3_600).unwrap_or_default();
            let billed = bill.actions().max(bill.minimum());
            // Only hours that ended a day before the report was ready, so that the first read can happen at
            // any time.
            if start < report.start || end > report.end || end > known || billed == 0 {
                continue;
            }
            let millions = Decimal::from(billed) / Decimal::from(1_000_000);
            let id = &namespace.id;
            let month = month_of(start);
            let month_end = month.checked_add(1.month()).unwrap_or(month);
            let [month, month_end] = [month, month_end].map(at_midnight);
            let cost = (millions * cents).normalize();
            let account = &cloud.account;
            let _ = writeln!(
                text,
                "{account},{account},{currency},{month_end},{month},Usage,Actions - Tier 1,Usage-Based,{end},{start},{cost},{cents},,stripe,\
                 {millions},1 Million Actions,Temporal Technologies,Temporal Technologies,{id},{id},Namespace,Temporal Cloud,Temporal Cloud,\
                 Actions,business-actions,Actions,\"{{\"\"$tmprl_project\"\":[\"\"default\"\"]}}\""
            );
        }
    }
    text
}

fn month_of(time: Timestamp) -> jiff::civil::Date {
    time.to_zoned_datetime(TimeZone::UTC).date().first_of_month()
}

fn at_midnight(date: jiff::civil::Date) -> Timestamp {
    date.to_zoned_datetime(TimeZone::UTC)
        .map(|zoned| zoned.timestamp())
        .unwrap_or_default()
}

fn is_month(time: Timestamp) -> bool {
    at_midnight(month_of(time)) == time
}

/// Parses a duration in proto3 JSON: `300s`.
fn seconds(text: &str) -> Option<SignedDuration> {
    let seconds = text.strip_suffix('s')?.parse::<f64>().ok()?;
    SignedDuration::try_from_secs_f64(seconds).ok()
}
