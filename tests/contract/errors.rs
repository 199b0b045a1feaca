//! Snapshots of the error messages of each library, one per crate, so that every change of a text is visible.

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::time::Duration;

use capacity_workflows::schedule::ScheduleError;
use cloud_ops_client::BillingReportState;
use jiff::Timestamp;
use jiff::civil::date;

/// Formats an error and its causes as the programs print them.
fn line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text + "\n"
}

fn lines<E: Error>(errors: impl IntoIterator<Item = E>) -> String {
    errors.into_iter().map(|error| line(&error)).collect()
}

/// Lists the errors of inputs, one per line.
fn refusals<T, E: Display>(results: impl IntoIterator<Item = Result<T, E>>) -> String {
    let refused = results.into_iter().map(|result| match result {
        Ok(_) => "accepted\n".to_owned(),
        Err(error) => format!("{error}\n"),
    });
    refused.collect()
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused")
}

#[test]
fn the_worker_kit() {
    use temporal_worker_kit::{ConnectError, KitError, LogFormat, LogSettings, parse_duration};
    let address = || "temporal.example:7233".to_owned();
    let setting = || "TEMPORAL_API_KEY".to_owned();
    let connect = [
        ConnectError::Address("temporal".to_owned()),
        ConnectError::AddressIsUrl {
            address: "http://localhost:7233".to_owned(),
            host_and_port: "localhost:7233".to_owned(),
        },
        ConnectError::File {
            setting: "TEMPORAL_CERT_PATH",
            path: "client.pem".into(),
            cause: io::Error::new(io::ErrorKind::NotFound, "no such file"),
        },
        ConnectError::Untrusted {
            address: address(),
            reason: "it has expired".to_owned(),
        },
        ConnectError::CertificateRequired { address: address() },
        ConnectError::CertificateRefused {
            address: address(),
            setting: "TEMPORAL_CERT_PATH, client.pem".to_owned(),
            reason: "it has expired".to_owned(),
        },
        ConnectError::NotEncrypted {
            address: address(),
            because: setting(),
        },
        ConnectError::KeyRefused {
            address: address(),
            setting: setting(),
            message: "invalid key".to_owned(),
        },
        ConnectError::NamespaceMissing {
            address: address(),
            namespace: "orders".to_owned(),
        },
        ConnectError::NamespaceRefused {
            address: address(),
            namespace: "orders".to_owned(),
            attempt: "use",
            setting: setting(),
            message: "permission denied".to_owned(),
        },
        ConnectError::Unreachable {
            address: address(),
            text: "connection refused".to_owned(),
        },
    ];
    let kit = [
        KitError::Listen {
            address: ([127, 0, 0, 1], 9464).into(),
            source: io::Error::new(io::ErrorKind::AddrInUse, "address in use"),
        },
        KitError::Signals(io::Error::other("not supported")),
        KitError::Sdk("no runtime".to_owned()),
        KitError::Worker {
            task_queue: "orders".to_owned(),
            text: "the worker panicked".to_owned(),
        },
        KitError::NotDrained(2),
    ];
    let texts = lines(connect)
        + &lines(kit)
        + &refusals(["30", "-5s"].map(parse_duration))
        + &refusals([LogSettings::try_new("a=b=c", LogFormat::Text)]);
    insta::assert_snapshot!(texts);
}

#[test]
fn the_workflows() {
    use capacity_workflows::controller::{AskError, ControllerError};
    let bound = Duration::from_secs(20);
    let texts = lines([
        ControllerError::NoAnswer(bound),
        ControllerError::Refused("workflow not found".to_owned()),
    ]) + &lines([
        AskError::NoAnswer(bound),
        AskError::Refused("the controller was canceled".to_owned()),
    ]) + &lines([
        ScheduleError::Refused {
            what: "show the schedule",
            text: "permission denied".to_owned(),
        },
        ScheduleError::Missing,
        ScheduleError::Contended,
    ]);
    insta::assert_snapshot!(texts);
}

#[test]
fn the_engine() {
    use capacity_engine::{NamespaceId, NamespacePatterns, PricePerMillion};
    let dollars = |text: &str| text.parse::<rust_decimal::Decimal>().expect("a number");
    let texts = refusals(["", "orders", "or ders.a1b2c"].map(str::parse::<NamespaceId>))
        + &refusals([NamespacePatterns::try_new(&["["])])
        + &refusals(["0", "10001", "1.2345678"].map(|text| PricePerMillion::try_new(dollars(text))));
    insta::assert_snapshot!(texts);
}

#[test]
fn the_clients() {
    use openmetrics_reader::scrape;
    let urls = [
        "saas-api.tmprl.cloud",
        "https://a:b@example.com",
        "https://example.com/?x=1",
        "http://example.com",
    ];
    let ops = urls.map(|url| cloud_ops_client::Config::try_new(url, "key".into()));
    let metrics = urls.map(|url| scrape::Config::try_new(url, "key".into()));
    let keys = [cloud_ops_client::Config::try_new(
        "https://example.com",
        "".into(),
    )];
    let key = [scrape::Config::try_new("https://example.com", "a\nb".into())];
    let slack = [
        "hooks",
        "https://a:b@hooks.slack.com/services/T/B/x",
        "http://example.com/services",
        "https://hooks.slack.com/triggers/T/1/x",
    ];
    let slack = slack.map(|url| slack_notifier::Config::try_new(url.into()));
    let texts = refusals(ops) + &refusals(metrics) + &refusals(keys) + &refusals(key) + &refusals(slack);
    insta::assert_snapshot!(texts);
}

#[test]
fn the_development_server() {
    use temporal_dev_server::{CliError, StartError};
    let texts = lines([
        StartError::Cli(CliError::Variable("/nowhere/temporal".into())),
        StartError::Cli(CliError::Nowhere(vec![
            "not on PATH".to_owned(),
            "Go is not installed".to_owned(),
        ])),
        StartError::Spawn(refused()),
        StartError::NotHealthy {
            log: "address already in use".to_owned(),
        },
    ]);
    insta::assert_snapshot!(texts);
}

#[test]
fn the_simulator() {
    use cloud_simulator::StartError;
    let texts = lines([
        StartError::NotLoopback(([10, 0, 0, 1], 80).into()),
        StartError::Listen {
            address: ([127, 0, 0, 1], 80).into(),
            source: io::Error::new(io::ErrorKind::PermissionDenied, "permission denied"),
        },
    ]);
    insta::assert_snapshot!(texts);
}

#[test]
fn the_backtest() {
    use capacity_backtest::Trace;
    let traces = [
        "",
        "load\n1\n",
        "aps\n",
        "aps\nmany\n",
        "aps\n-1\n",
        "time,aps\n2,1\n1,1\n",
    ];
    insta::assert_snapshot!(refusals(traces.map(Trace::parse)));
}

#[test]
fn the_report() {
    use capacity_report::{Query, ReportError};
    let at = |text: &str| text.parse::<Timestamp>().expect("a time");
    let now = at("2026-11-20T10:45:00Z");
    let query = |from: Option<&str>, to: Option<&str>| Query {
        from: from.map(at),
        to: to.map(at),
        ..Query::last_week(now)
    };
    let spans = [
        query(Some("2026-11-19T00:00:00Z"), Some("2026-11-18T00:00:00Z")),
        query(Some("2026-11-20T10:00:00Z"), None),
        query(Some("2025-11-01T00:00:00Z"), None),
    ];
    let known = || vec!["a1b2c".to_owned(), "d3e4f".to_owned()];
    let (ledger, account) = (|| "ledger.db".to_owned(), || "x5y6z".to_owned());
    let (from, to) = (at("2026-11-19T00:00:00Z"), at("2026-11-20T00:00:00Z"));
    let asked = [
        ReportError::BeyondCalendar,
        ReportError::EmptyLedger(ledger()),
        ReportError::UnknownAccount {
            ledger: ledger(),
            account: account(),
            known: known(),
        },
        ReportError::SeveralAccounts {
            ledger: ledger(),
            known: known(),
        },
        ReportError::NotHourly,
        ReportError::OtherAccount {
            billed: "orders.a1b2c".to_owned(),
            account: account(),
        },
        ReportError::NotBilledYet { from, to },
        ReportError::NoLongerKept {
            kept: date(2026, 10, 1),
            from: date(2026, 9, 30),
        },
        ReportError::EmptyBill {
            id: "b1".to_owned(),
            from,
            to,
        },
        ReportError::BillNotMade("b1".to_owned()),
        ReportError::BillSlow {
            id: "b1".to_owned(),
            state: BillingReportState::InProgress,
            minutes: 10,
        },
    ];
    insta::assert_snapshot!(refusals(spans.map(|query| query.span())) + &lines(asked));
}

#[test]
fn the_prometheus_reader() {
    use prometheus_reader::{Auth, ErrorKind, PrometheusConfig};
    let host = || "prometheus.example".to_owned();
    let refused = |status| ErrorKind::Refused {
        host: host(),
        status,
        message: "try later".to_owned(),
        retry_after: None,
    };
    let unauthorized = |status, has_tenant| ErrorKind::Unauthorized {
        host: host(),
        status,
        message: "no".to_owned(),
        has_tenant,
    };
    let not_prometheus = |status| ErrorKind::NotPrometheus {
        host: host(),
        status,
        excerpt: "<html>".to_owned(),
    };
    let kinds = [
        ErrorKind::Question("`a-b` is not the name of a metric family".to_owned()),
        ErrorKind::Timeout {
            host: host(),
            message: "query timed out".to_owned(),
        },
        ErrorKind::CutShort {
            host: host(),
            why: "10 of 20 bytes arrived".to_owned(),
        },
        unauthorized(401, false),
        unauthorized(403, true),
        not_prometheus(404),
        not_prometheus(405),
        ErrorKind::BadQuery {
            host: host(),
            error_type: "bad_data".to_owned(),
            message: "parse error".to_owned(),
        },
        ErrorKind::TooLarge {
            host: host(),
            message: "it would load too many samples".to_owned(),
        },
        refused(429),
        refused(503),
        ErrorKind::Unreadable {
            host: host(),
            why: "no `data` at line 1 column 2".to_owned(),
        },
    ];
    let urls = [
        "prometheus",
        "https://a:b@example.com",
        "https://example.com/?x=1",
        "https://example.com/api/v1/query",
        "http://example.com",
    ];
    let configs = urls.map(|url| PrometheusConfig::builder(url).build());
    let auth = [
        Auth::Bearer("a\nb".to_owned().into()),
        Auth::Basic {
            user: "a:b".to_owned(),
            password: String::new().into(),
        },
    ];
    let auth = auth.map(|auth| {
        PrometheusConfig::builder("https://example.com")
            .auth(auth)
            .build()
    });
    insta::assert_snapshot!(lines(kinds) + &refusals(configs) + &refusals(auth));
}

#[test]
fn the_edge() {
    use http_edge::SecretFileError;
    use http_edge::pem::{PemProblem, certificates, private_key};
    let files = [
        SecretFileError::Unreadable {
            path: "key".into(),
            cause: io::Error::new(io::ErrorKind::NotFound, "no such file"),
        },
        SecretFileError::NotText("key".into()),
        SecretFileError::Empty("key".into()),
    ];
    let key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let texts: [&[u8]; 6] = [
        b"",
        &[0x30, 0x82, 1, 1],
        &[0xff],
        b"hello",
        key,
        b"-----BEGIN CERTIFICATE-----",
    ];
    let keys: [&[u8]; 2] = [certificate, encrypted];
    let rest = [PemProblem::Mismatch, PemProblem::UnsupportedKey];
    let refused = refusals(texts.map(certificates)) + &refusals(keys.map(private_key));
    insta::assert_snapshot!(lines(files) + &refused + &lines(rest));
}
