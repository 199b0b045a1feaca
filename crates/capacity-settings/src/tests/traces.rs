//! The collector of traces, in OpenTelemetry's variables.

use rstest::rstest;

use super::{folder, loaded};

#[test]
fn traces_are_off_without_a_collector_or_if_they_are_turned_off() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
    let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let off = |environment: &[(&str, &str)]| {
        let settings = loaded(folder(&[]).path(), environment).expect("valid");
        assert!(settings.traces.is_none(), "{environment:?}");
        assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
    };
    off(&[]);
    // The variables of other programs are none of our business.
    off(&[
        protocol,
        ("OTEL_RESOURCE_ATTRIBUTES", "?"),
        ("OTEL_SERVICE_NAME", "web"),
    ]);
    off(&[endpoint, protocol, ("OTEL_SDK_DISABLED", "TRUE")]);
    off(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]);
    let on = loaded(folder(&[]).path(), &[endpoint]).expect("valid");
    assert_eq!(on.traces.expect("on").url(), "http://localhost:4318/v1/traces");
}

#[test]
fn the_variables_for_traces_take_precedence_over_those_for_all_signals() {
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "not a url"),
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "https://otlp.example.com/traces",
        ),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=hunter2"),
    ];
    let settings = loaded(folder(&[]).path(), &environment).expect("valid");
    assert!(!format!("{settings:?}").contains("hunter2"));
    assert_eq!(
        settings.traces.expect("on").url(),
        "https://otlp.example.com/traces"
    );
}

#[rstest]
#[case::url(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "collector:4317",
    "= `collector:4317` (environment): this is not a collector URL; include the scheme"
)]
#[case::password(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "https://me:hunter2@example.com",
    "(environment): the URL contains a user or a password"
)]
#[case::headers(
    "OTEL_EXPORTER_OTLP_HEADERS",
    "hunter2",
    "(environment): the headers cannot be sent; use name=value"
)]
#[case::protocol("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "only http/protobuf is supported")]
#[case::exporter("OTEL_TRACES_EXPORTER", "jaeger", "use otlp, or none to send no traces")]
#[case::timeout("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "use a whole number from 1 to 60000")]
#[case::certificate("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem", "No such file")]
#[case::attributes("OTEL_RESOURCE_ATTRIBUTES", "staging", "as name=value")]
fn a_mistake_in_the_settings_of_traces_has_a_place_and_a_remedy(
    #[case] name: &str,
    #[case] value: &str,
    #[case] expected: &str,
) {
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318"),
        (name, value),
    ];
    let mistakes = loaded(folder(&[]).path(), &environment).expect_err("refused");
    let text = mistakes.to_string();
    assert!(
        text.contains(expected) && text.contains(name) && text.starts_with("1 setting is wrong"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
}
