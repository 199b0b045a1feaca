//! Snapshots of the error messages of each library, one per crate, so that every change of a text is visible.

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::time::Duration;

use capacity_workflows::schedule::ScheduleError;

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
        AskError::Refused("the controller was cancelled".to_owned()),
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
