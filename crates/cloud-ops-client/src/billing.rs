//! Billing reports: create, wait, download, and parse row by row.
//!
//! The service writes a CSV file with FOCUS columns (Temporal's documentation, Cloud Billing API page).
//! Amounts are in the unit given in `BillingCurrency`, which is documented as `USD (cents)`. Quantities of
//! actions are in `PricingUnit`, which is documented as `1 Million Actions`.

use std::collections::HashMap;

use http::Method;
use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize};

use crate::client::{Call, Client, Repeat};
use crate::error::{Error, ErrorKind};
use crate::namespaces::AsyncOperation;
use crate::wire::{null_is_default, wire_enum};

wire_enum!(
    /// Status of a billing report.
    BillingReportState, "BILLING_REPORT_STATE_", {
        /// Being generated, or waiting for another report of the account.
        InProgress = 1 "IN_PROGRESS",
        /// Ready to be downloaded.
        Generated = 2 "GENERATED",
        /// Failed.
        Failed = 3 "FAILED",
    }
);

wire_enum!(
    /// File format of a billing report.
    BillingFileFormat, "FILE_FORMAT_", {
        /// Comma-separated values.
        Csv = 1 "CSV",
    }
);

/// The period that one row of a billing report covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum BillingGranularity {
    /// An hour. Only available for the current and the previous month.
    #[serde(rename = "BILLING_REPORT_GRANULARITY_HOURLY")]
    Hourly,
    /// A day.
    #[serde(rename = "BILLING_REPORT_GRANULARITY_DAILY")]
    Daily,
    /// A month.
    #[serde(rename = "BILLING_REPORT_GRANULARITY_MONTHLY")]
    Monthly,
}

// Exhaustive: a value without one of these fields has no meaning.
/// The parameters of a billing report. Both times must be the beginning of a month (UTC).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BillingReportSpec {
    /// Beginning of the first month.
    pub start_time_inclusive: Timestamp,
    /// Beginning of the month after the last.
    pub end_time_exclusive: Timestamp,
    /// The period that one row covers.
    pub granularity: BillingGranularity,
    /// Validity of the download URL, such as `1800s`; at most one hour.
    pub download_url_expiration_duration: String,
    /// Description, for display.
    pub description: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateBillingReport<'a> {
    spec: &'a BillingReportSpec,
    async_operation_id: &'a str,
}

/// A billing report that was requested.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct BillingReportCreated {
    /// Id of the report.
    #[serde(alias = "billing_report_id", deserialize_with = "null_is_default")]
    pub billing_report_id: String,
    /// The operation that generates it.
    #[serde(alias = "async_operation")]
    pub async_operation: Option<AsyncOperation>,
}

#[derive(Deserialize)]
struct OneBillingReport {
    #[serde(alias = "billing_report", rename = "billingReport")]
    billing_report: BillingReport,
}

/// A billing report.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BillingReport {
    /// Id of the report.
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    /// State of the report.
    #[serde(deserialize_with = "null_is_default")]
    pub state: BillingReportState,
    /// Files of the report, once it is ready.
    #[serde(alias = "download_info", deserialize_with = "null_is_default")]
    pub download_info: Vec<BillingDownload>,
    /// Time of the request.
    #[serde(alias = "requested_time")]
    pub requested_time: Option<Timestamp>,
    /// Time when the report was generated.
    #[serde(alias = "generated_time")]
    pub generated_time: Option<Timestamp>,
}

/// One file of a billing report. Its URL is a secret while it is valid, and is never displayed.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BillingDownload {
    #[serde(deserialize_with = "null_is_default")]
    url: String,
    /// Time when the URL expires.
    #[serde(alias = "url_expiration_time")]
    pub url_expiration_time: Option<Timestamp>,
    /// File format.
    #[serde(alias = "file_format", deserialize_with = "null_is_default")]
    pub file_format: BillingFileFormat,
    /// Size in bytes, if known.
    #[serde(alias = "file_size_bytes", deserialize_with = "whole_number")]
    pub file_size_bytes: Option<u64>,
}

impl std::fmt::Debug for BillingDownload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BillingDownload")
            .field("file_format", &self.file_format)
            .field("file_size_bytes", &self.file_size_bytes)
            .finish_non_exhaustive()
    }
}

/// Deserializes a 64-bit number from a string or a number; 0 and absent mean none.
fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Number(u64),
        Text(String),
    }
    let number = match Option::<Form>::deserialize(deserializer)? {
        None => 0,
        Some(Form::Number(number)) => number,
        Some(Form::Text(text)) => text.parse().map_err(serde::de::Error::custom)?,
    };
    Ok((number > 0).then_some(number))
}

impl Client {
    /// Requests a billing report. The operation id makes retries harmless, so the call is retried like a
    /// read.
    ///
    /// # Errors
    ///
    /// As any call. [`Error::is_permission_denied`] is true unless the key has the account role Finance Admin
    /// or Owner.
    pub async fn create_billing_report(
        &self,
        spec: &BillingReportSpec,
        async_operation_id: &str,
    ) -> Result<BillingReportCreated, Error> {
        const OPERATION: &str = "create a billing report";
        let request = CreateBillingReport {
            spec,
            async_operation_id,
        };
        let body = serde_json::to_vec(&request).expect("times and strings are JSON");
        let call = Call {
            operation: OPERATION.to_owned(),
            method: Method::POST,
            path: &["cloud", "billing-reports"],
            query: Vec::new(),
            body: Some(body),
            repeat: Repeat::Harmless,
        };
        let created: BillingReportCreated = self.call(call).await?;
        if created.billing_report_id.is_empty() {
            let text =
                "the response has no `billingReportId`, so the report cannot be found again".to_owned();
            return Err(Error::new(OPERATION, ErrorKind::Contradiction(text)));
        }
        Ok(created)
    }

    /// Reads a billing report's state and files.
    ///
    /// # Errors
    ///
    /// As any call.
    pub async fn billing_report(&self, id: &str) -> Result<BillingReport, Error> {
        let path = ["cloud", "billing-reports", id];
        let operation = format!("read billing report {id}");
        let answer: OneBillingReport = self.get(operation, &path, Vec::new()).await?;
        Ok(answer.billing_report)
    }

    /// Downloads one file of a billing report, without the key, because the URL itself grants access.
    ///
    /// # Errors
    ///
    /// If the URL is not https (or loopback) or has expired, or if fewer bytes arrive than the service
    /// announced.
    pub async fn download_billing_file(&self, file: &BillingDownload) -> Result<Vec<u8>, Error> {
        const OPERATION: &str = "download the billing report";
        let failed = |text: String| Error::new(OPERATION, ErrorKind::Contradiction(text));
        let url = url::Url::parse(&file.url)
            .map_err(|_| failed("the service sent no usable download URL".to_owned()))?;
        let body = self
            .fetch_file(url)
            .await
            .map_err(|kind| Error::new(OPERATION, kind))?;
        let received = body.len() as u64;
        match file.file_size_bytes {
            // A proxy that cuts a body off may send a length that fits. The announced size does not.
            Some(announced) if announced != received => Err(failed(format!(
                "the file is truncated: {received} of {announced} bytes arrived. Run the command again; if it happens again, check any proxy in between"
            ))),
            _ => Ok(body),
        }
    }
}

/// One row of a billing report that belongs to a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Charge {
    /// Full id of the namespace (`ResourceID`).
    pub namespace: String,
    /// Start of the period (`ChargePeriodStart`).
    pub start: Timestamp,
    /// End of the period (`ChargePeriodEnd`).
    pub end: Timestamp,
    /// The metered quantity (`SKUMeter`): `Actions`, or storage.
    pub meter: String,
    /// Number of actions, if the row meters actions (`PricingQuantity` in `PricingUnit`).
    pub actions: Option<Decimal>,
    /// Cost in dollars (`ContractedCost` in `BillingCurrency`).
    pub cost_usd: Decimal,
}

/// The columns that are read. All others are ignored.
const COLUMNS: [&str; 9] = [
    "BillingCurrency",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "ContractedCost",
    "PricingQuantity",
    "PricingUnit",
    "ResourceID",
    "ResourceType",
    "SKUMeter",
];

/// Passes the rows of a billing file that belong to namespaces to `each`, in order. Returns the total number
/// of rows.
///
/// # Errors
///
/// If a column is missing, a row is truncated, a number or time cannot be parsed, the currency is not the US
/// dollar, or actions are counted in an unknown unit. The error contains the line and the remedy.
pub fn read_charges(file: &[u8], mut each: impl FnMut(Charge)) -> Result<usize, Error> {
    let failed = |text: String| Error::new("read the billing report", ErrorKind::Contradiction(text));
    // A byte-order mark would become part of the first column's name.
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    // Flexible, so that `charge` sees rows with missing columns and explains them with a remedy.
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    let header = reader
        .headers()
        .map_err(|error| failed(format!("its first line cannot be read: {error}")))?
        .clone();
    let columns = Columns::of(&header).map_err(|problem| failed(problem.to_string()))?;
    let mut rows = 0;
    for record in reader.records() {
        rows += 1;
        let record = record.map_err(|error| failed(format!("it cannot be read as CSV: {error}")))?;
        let line = record.position().map_or(rows as u64 + 1, csv::Position::line);
        let charge = columns
            .charge(&record)
            .map_err(|problem| failed(format!("line {line}: {problem}")))?;
        if let Some(charge) = charge {
            each(charge);
        }
    }
    // A file that ends within its last column still has all columns, and perhaps a number with fewer digits.
    if rows > 0 && !file.ends_with(b"\n") {
        return Err(failed(format!(
            "line {} has no line end: the file is truncated. Run the command again",
            rows + 1
        )));
    }
    Ok(rows)
}

/// Why a billing file cannot be read. The message contains the remedy.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(
        "the column `{name}` is missing; the file has: {there}. Temporal may have renamed it: update temporal-capacity, or report this"
    )]
    NoColumn { name: &'static str, there: String },
    #[error("{found} of {expected} columns: the file is truncated or damaged. Run the command again")]
    CutOff { found: usize, expected: usize },
    #[error("`{text}` in {name} cannot be read: update temporal-capacity, or report this")]
    Unreadable { name: &'static str, text: String },
    #[error(
        "actions are counted in `{0}`, but only `1 Million Actions` is supported: update temporal-capacity, or report this"
    )]
    Unit(String),
    #[error(
        "the account is billed in `{0}`, but only US dollars are supported. Compare `used_actions` and `idle_actions` of `report --output csv` with PricingQuantity of a billing report instead"
    )]
    Currency(String),
}

struct Columns {
    at: HashMap<&'static str, usize>,
    count: usize,
}

impl Columns {
    /// Finds the columns by name, regardless of case, because FOCUS and Temporal write `ResourceId` and
    /// `ResourceID`.
    fn of(header: &csv::StringRecord) -> Result<Self, Problem> {
        let mut at = HashMap::new();
        for name in COLUMNS {
            let index = header.iter().position(|it| it.trim().eq_ignore_ascii_case(name));
            let Some(index) = index else {
                let there: String = header
                    .iter()
                    .collect::<Vec<_>>()
                    .join(", ")
                    .chars()
                    .take(600)
                    .collect();
                return Err(Problem::NoColumn { name, there });
            };
            at.insert(name, index);
        }
        Ok(Self {
            at,
            count: header.len(),
        })
    }

    fn charge(&self, record: &csv::StringRecord) -> Result<Option<Charge>, Problem> {
        if record.len() != self.count {
            return Err(Problem::CutOff {
                found: record.len(),
                expected: self.count,
            });
        }
        let text = |name: &'static str| {
            self.at
                .get(name)
                .and_then(|index| record.get(*index))
                .unwrap_or("")
                .trim()
        };
        let unreadable = |name: &'static str| Problem::Unreadable {
            name,
            text: text_cut(text(name)),
        };
        let decimal = |name: &'static str| decimal(text(name)).ok_or_else(|| unreadable(name));
        let time = |name: &'static str| text(name).parse::<Timestamp>().map_err(|_| unreadable(name));
        // Before any number is parsed: an unknown unit or currency in a row of the account must not fail the
        // report.
        if !text("ResourceType").eq_ignore_ascii_case("namespace") || text("ResourceID").is_empty() {
            return Ok(None);
        }
        let meter = text("SKUMeter").to_owned();
        let actions = if meter.eq_ignore_ascii_case("actions") {
            let unit =
                unit(text("PricingUnit")).ok_or_else(|| Problem::Unit(text_cut(text("PricingUnit"))))?;
            // A product that does not fit a decimal would panic.
            let product = decimal("PricingQuantity")?.checked_mul(unit);
            Some(product.ok_or_else(|| unreadable("PricingQuantity"))?)
        } else {
            None
        };
        let currency = text("BillingCurrency");
        let dollars = in_dollars(currency).ok_or_else(|| Problem::Currency(text_cut(currency)))?;
        Ok(Some(Charge {
            namespace: text("ResourceID").to_owned(),
            start: time("ChargePeriodStart")?,
            end: time("ChargePeriodEnd")?,
            meter,
            actions,
            cost_usd: (decimal("ContractedCost")? * dollars).normalize(),
        }))
    }
}

fn text_cut(text: &str) -> String {
    text.chars().filter(|it| !it.is_control()).take(60).collect()
}

/// Parses a decimal number, also in scientific notation. An empty text means zero.
fn decimal(text: &str) -> Option<Decimal> {
    if text.is_empty() {
        return Some(Decimal::ZERO);
    }
    text.parse().ok().or_else(|| Decimal::from_scientific(text).ok())
}

/// Returns the dollar value of one unit of a currency.
fn in_dollars(currency: &str) -> Option<Decimal> {
    let currency: String = currency.to_ascii_lowercase().split_whitespace().collect();
    match currency.as_str() {
        "usd" => Some(Decimal::ONE),
        "usd(cents)" | "usdcents" => Some(Decimal::new(1, 2)),
        _ => None,
    }
}

/// Returns how many actions one unit has: `1 Million Actions`, `Actions`.
fn unit(text: &str) -> Option<Decimal> {
    let text = text.to_ascii_lowercase();
    let mut words = text.split_whitespace().peekable();
    let count = match words.peek().and_then(|word| word.parse::<Decimal>().ok()) {
        Some(count) => {
            words.next();
            count
        }
        None => Decimal::ONE,
    };
    let (scale, rest) = match words.next()? {
        "million" => (1_000_000, words.next()),
        "thousand" => (1_000, words.next()),
        other => (1, Some(other)),
    };
    let is_actions = matches!(rest, Some("actions" | "action")) && words.next().is_none();
    if !is_actions {
        return None;
    }
    count.checked_mul(Decimal::from(scale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const HEADER: &str = "BillingCurrency,ChargePeriodStart,ChargePeriodEnd,ContractedCost,PricingQuantity,PricingUnit,ResourceID,ResourceType,SKUMeter,Tags";

    fn row(currency: &str, unit: &str, meter: &str, quantity: &str) -> String {
        format!(
            "{currency},2026-11-20T01:00:00Z,2026-11-20T02:00:00.000Z,5400.00,{quantity},{unit},orders.a1b2c,Namespace,{meter},\"{{\"\"team\"\":[\"\"pay, ops\"\"]}}\""
        )
    }

    fn read(text: &str) -> Result<Vec<Charge>, String> {
        let mut charges = Vec::new();
        match read_charges(text.as_bytes(), |charge| charges.push(charge)) {
            Ok(_) => Ok(charges),
            Err(error) => Err(std::error::Error::source(&error).expect("a cause").to_string()),
        }
    }

    #[rstest]
    #[case::as_documented("USD (cents)", "1 Million Actions", "1.08", "54", Some("1080000"))]
    #[case::dollars("USD", "1 Million Actions", "1.08", "5400", Some("1080000"))]
    #[case::thousands("USD (cents)", "1 Thousand Actions", "3", "54", Some("3000"))]
    #[case::scientific("USD (cents)", "Actions", "1.08E6", "54", Some("1080000"))]
    #[case::nothing("USD (cents)", "Actions", "", "54", Some("0"))]
    fn money_and_actions_are_read_in_their_units(
        #[case] currency: &str,
        #[case] unit: &str,
        #[case] quantity: &str,
        #[case] usd: &str,
        #[case] actions: Option<&str>,
    ) {
        let text = format!("{HEADER}\n{}\n", row(currency, unit, "Actions", quantity));
        let charges = read(&text).expect("reads");
        let [charge] = charges.as_slice() else {
            panic!("one charge")
        };
        assert_eq!(charge.cost_usd, usd.parse().expect("a number"));
        assert_eq!(charge.actions, actions.map(|it| it.parse().expect("a number")));
        assert_eq!(charge.end.duration_since(charge.start).as_hours(), 1);
    }

    #[test]
    fn storage_and_rows_without_a_namespace_are_distinguished() {
        let storage = row("USD (cents)", "1 GBh", "Active Storage", "3");
        let plan = row("USD (cents)", "1 Month", "Support", "1").replace("Namespace", "Account");
        let charges = read(&format!("{HEADER}\n{storage}\n{plan}\n")).expect("reads");
        assert_eq!(charges.len(), 1);
        assert_eq!(charges[0].actions, None);
    }

    #[rstest]
    #[case::another_currency(format!("{HEADER}\n{}\n", row("EUR", "1 Million Actions", "Actions", "1")), "line 2: the account is billed in `EUR`")]
    #[case::another_unit(format!("{HEADER}\n{}\n", row("USD", "1 Bundle", "Actions", "1")), "actions are counted in `1 Bundle`")]
    #[case::no_number(format!("{HEADER}\n{}\n", row("USD", "Actions", "Actions", "many")), "`many` in PricingQuantity cannot be read")]
    #[case::too_large(format!("{HEADER}\n{}\n", row("USD", "1 Million Actions", "Actions", "79228162514264337593543950335")), "in PricingQuantity cannot be read")]
    #[case::cut_in_a_row(format!("{HEADER}\n{}", &row("USD", "Actions", "Actions", "1")[..60]), "columns: the file is truncated")]
    #[case::cut_in_the_last_cell(format!("{HEADER}\nUSD,2026-11-20T01:00:00Z,2026-11-20T02:00:00Z,1,1,Actions,orders.a1b2c,Namespace,Actions,x"), "has no line end: the file is truncated")]
    #[case::renamed(format!("{}\n", HEADER.replace("ContractedCost", "BilledCost")), "the column `ContractedCost` is missing; the file has: BillingCurrency")]
    #[case::a_page("<html>expired</html>\n".to_owned(), "is missing; the file has: <html>expired</html>")]
    fn what_cannot_be_read_is_refused_with_line_and_remedy(#[case] text: String, #[case] problem: &str) {
        let error = read(&text).expect_err("refused");
        assert!(error.contains(problem), "{error}");
    }

    #[test]
    fn a_column_in_the_case_of_focus_is_found() {
        let header = HEADER
            .replace("ResourceID", "ResourceId")
            .replace("SKUMeter", "SkuMeter");
        let text = format!(
            "\u{feff}{header}\r\n{}\r\n",
            row("USD", "Actions", "Actions", "1")
        );
        assert_eq!(read(&text).expect("reads").len(), 1);
    }
}
