//! Tests of layers, origins and mistakes, as users see them.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use rstest::rstest;

use crate::{CATALOG, EffectiveSetting, Inputs, Mistakes, Needs, Settings, load};

fn inputs(directory: &Path, environment: &[(&str, &str)]) -> Inputs {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Inputs {
        environment: environment.iter().map(pair).collect(),
        directory: Some(directory.to_owned()),
        ..Inputs::default()
    }
}

fn loaded(directory: &Path, environment: &[(&str, &str)]) -> Result<Settings, Mistakes> {
    load(&inputs(directory, environment), Needs::default())
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

fn effective<'a>(settings: &'a Settings, name: &str) -> &'a EffectiveSetting {
    settings
        .effective
        .iter()
        .find(|setting| setting.name == name)
        .expect("a setting")
}

#[test]
fn without_settings_the_defaults_apply() {
    let settings = loaded(folder(&[]).path(), &[]).expect("valid");
    assert_eq!(
        format!("{:?}", settings.rules),
        format!("{:?}", capacity_engine::Rules::default())
    );
    assert!(!settings.dry_run && settings.cloud_ops.is_none() && settings.metrics.is_none());
    assert_eq!((settings.max_concurrent_changes, settings.warnings.len()), (5, 0));
}

#[test]
fn each_layer_overrides_those_below() {
    let folder = folder(&[
        (
            "capacity.toml",
            "default_tru_count = 2\nmax_tru_count = 3\nmin_actions_threshold = 30\n",
        ),
        (
            ".env",
            "MAX_TRU_COUNT=4\nMIN_ACTIONS_THRESHOLD=40\nPRICE_PER_MILLION_ACTIONS=40\n",
        ),
    ]);
    let mut inputs = inputs(
        folder.path(),
        &[("MIN_ACTIONS_THRESHOLD", "50"), ("PRICE_PER_MILLION_ACTIONS", "")],
    );
    inputs.flags.push((
        "MAX_CONCURRENT_CHANGES".to_owned(),
        "7".to_owned(),
        "--set".to_owned(),
    ));
    let settings = load(&inputs, Needs::default()).expect("valid");
    let shown: Vec<String> = [
        "DEFAULT_TRU_COUNT",
        "MAX_TRU_COUNT",
        "MIN_ACTIONS_THRESHOLD",
        "PRICE_PER_MILLION_ACTIONS",
        "MAX_CONCURRENT_CHANGES",
        "METRICS_MAX_AGE",
    ]
    .map(|name| {
        let setting = effective(&settings, name);
        format!(
            "{name} = {} ({})",
            setting.value.as_deref().unwrap_or("-"),
            setting.origin
        )
    })
    .to_vec();
    let text = shown
        .join("\n")
        .replace(&folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!(text, @r"
    DEFAULT_TRU_COUNT = 2 (FOLDER/capacity.toml, line 1)
    MAX_TRU_COUNT = 4 (.env, line 1)
    MIN_ACTIONS_THRESHOLD = 50 (environment)
    PRICE_PER_MILLION_ACTIONS = 40 (.env, line 3)
    MAX_CONCURRENT_CHANGES = 7 (flag --set)
    METRICS_MAX_AGE = 6m (default)
    ");
}

#[rstest]
#[case::flat("", "$50/M", "54")]
#[case::flat_whatever_is_used("actions_per_month = 30_000_000", "$50/M", "54")]
#[case::tiers("price_per_million_actions = \"5M:50, 10M:45, 25\"", "$50/M", "54")]
#[case::later_tier(
    "price_per_million_actions = \"5M:50, 10M:45, 25\"\nactions_per_month = \"5M\"",
    "$45/M",
    "48.6"
)]
#[case::tier_crossed(
    "price_per_million_actions = [\"5M:50\", \"10M:45\", 25]\nactions_per_month = 4_000_000",
    "$50/M",
    "53.6"
)]
#[case::plan("support_plan_percentage = 7.5", "$50/M + 7.5%", "58.05")]
#[case::all(
    "price_per_million_actions = \"5M:50, 35\"\nactions_per_month = \"30M\"\nsupport_plan_percentage = 10",
    "$35/M + 10%",
    "41.58"
)]
fn amounts_depend_on_price_month_and_plan(#[case] file: &str, #[case] shown: &str, #[case] idle_hour: &str) {
    let settings = loaded(folder(&[("capacity.toml", file)]).path(), &[]).expect("valid");
    let price = settings.rules.prices;
    let four = capacity_engine::Capacity::from_trus(4);
    assert_eq!(
        (
            price.to_string().as_str(),
            price.idle_hour(four).to_string().as_str()
        ),
        (shown, idle_hour)
    );
}

#[test]
fn all_invalid_prices_are_reported() {
    let environment = [
        ("PRICE_PER_MILLION_ACTIONS", "10M:50, 5M:45, 25"),
        ("ACTIONS_PER_MONTH", "many"),
        ("SUPPORT_PLAN_PERCENTAGE", "110"),
    ];
    let mistakes = loaded(folder(&[]).path(), &environment).expect_err("wrong");
    insta::assert_snapshot!(mistakes.to_string(), @r"
    3 settings are wrong
      PRICE_PER_MILLION_ACTIONS = `10M:50, 5M:45, 25` (environment): a tier up to 5,000,000 actions cannot follow one up to 10,000,000: tiers must be in ascending order, as in 5M:50, 10M:45, 25
      ACTIONS_PER_MONTH = `many` (environment): `many` is not a number of actions from 0 to 1000B; for example 5M, 2B or 5_000_000
      SUPPORT_PLAN_PERCENTAGE = `110` (environment): use a percentage from 0 to 100 with at most 4 decimals, such as 10 or 7.5
    ");
}

#[test]
fn all_mistakes_are_reported_together() {
    let folder = folder(&[
        (
            ".env",
            "DRY_RUN_MOD=true\nDEFAULT_TRU_COUNT=five\nhunter2\nMAX_TRU_COUNT=0\nMAX_TRU_COUNT=12\n",
        ),
        (
            "capacity.toml",
            "metrics_max_age = \"6\"\nnamespace_deny_list = [\"a\"]\ntypo = 1\n",
        ),
    ]);
    let environment = [
        ("DRY_RUN_MODE", "maybe"),
        ("NAMESPACE_ALLOWLIST", "or[ders"),
        ("TEMPORAL_CLOUD_OPS_API_KEY", "hunter2"),
        ("TEMPORAL_CLOUD_OPS_API_KEY_FILE", "missing.key"),
        ("CLOUD_OPS_API_BASE_URL", "http://user:hunter2@example.com"),
        ("TEMPORAL_CERT_PATH", "cert.pem"),
        ("TEMPORAL_PORT", "tcp://10.0.0.1:7233"),
    ];
    let mistakes = load(
        &inputs(folder.path(), &environment),
        Needs {
            cloud_keys: true,
            ..Needs::default()
        },
    )
    .expect_err("wrong");
    let text = mistakes
        .to_string()
        .replace(&folder.path().display().to_string(), "FOLDER");
    assert!(!text.contains("hunter2"), "{text}");
    insta::assert_snapshot!(text, @r"
    14 settings are wrong
      namespace_deny_list (FOLDER/capacity.toml, line 2): unknown setting; did you mean `namespace_denylist`?
      typo (FOLDER/capacity.toml, line 3): unknown setting; `temporal-capacity settings show` lists all settings
      .env, line 3: the line cannot be read: it is not NAME=value; fix it, or start it with # to comment it out
      DRY_RUN_MOD (.env, line 1): unknown setting; did you mean DRY_RUN_MODE? (rename or remove it)
      MAX_TRU_COUNT (.env, line 5): it is set twice, first on line 4: remove one
      TEMPORAL_CLOUD_OPS_API_KEY_FILE (environment): the file FOLDER/missing.key cannot be read: No such file or directory (os error 2)
      TEMPORAL_CLOUD_OPS_API_KEY (environment): both TEMPORAL_CLOUD_OPS_API_KEY and TEMPORAL_CLOUD_OPS_API_KEY_FILE are set: remove one
      DEFAULT_TRU_COUNT = `five` (.env, line 2): use a whole number from 1 to 1000
      METRICS_MAX_AGE = `6` (FOLDER/capacity.toml, line 1): use a duration with a unit, such as 30s, 5m or 14d
      NAMESPACE_ALLOWLIST = `or[ders` (environment): the pattern `or[ders` is invalid: unclosed character class; missing ']'; globs support *, ?, [ab] and {a,b}
      DRY_RUN_MODE = `maybe` (environment): this is neither true nor false; use true or false
      CLOUD_OPS_API_BASE_URL (environment): the URL contains a user or password; put the key into its own setting
      TEMPORAL_CLOUD_METRICS_API_KEY: it is not set (API key for the metrics endpoint; the role Metrics Read-Only is enough); set it, or specify a file that contains it in TEMPORAL_CLOUD_METRICS_API_KEY_FILE
      TEMPORAL_CERT_PATH (environment): it also needs TEMPORAL_KEY_PATH
    ");
}

#[test]
fn a_secret_comes_from_a_file_and_is_never_shown() {
    let folder = folder(&[("ops.key", "hunter2\n")]);
    let environment = [("TEMPORAL_CLOUD_OPS_API_KEY_FILE", "ops.key")];
    let settings = loaded(folder.path(), &environment).expect("valid");
    assert!(settings.cloud_ops.is_some());
    assert_eq!(
        effective(&settings, "TEMPORAL_CLOUD_OPS_API_KEY")
            .value
            .as_deref(),
        Some("(hidden)")
    );
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[cfg(unix)]
#[test]
fn a_world_readable_secret_causes_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    for (mode, expected) in [(0o644, 2), (0o600, 0)] {
        let folder = folder(&[
            ("ops.key", "hunter2"),
            (".env", "TEMPORAL_CLOUD_METRICS_API_KEY=hunter2"),
        ]);
        for file in ["ops.key", ".env"] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(folder.path().join(file), permissions).expect("set");
        }
        let settings =
            loaded(folder.path(), &[("TEMPORAL_CLOUD_OPS_API_KEY_FILE", "ops.key")]).expect("valid");
        assert_eq!(settings.warnings.len(), expected, "{:?}", settings.warnings);
    }
}

#[rstest]
#[case::not_utf8(&[0xff, 0xfe, b'A', b'='], "it is not UTF-8 text")]
#[case::cut_in_a_quote(b"NAMESPACE_DENYLIST=\"pay", "its quote is not closed")]
#[case::near_a_name(b"NAMESPACE_DENY_LIST=pay", "did you mean NAMESPACE_DENYLIST?")]
#[case::twice(b"DRY_RUN_MODE=true\nDRY_RUN_MODE=false", "it is set twice, first on line 1")]
fn a_dotenv_is_read_completely_or_not_at_all(#[case] bytes: &[u8], #[case] expected: &str) {
    let folder = folder(&[]);
    std::fs::write(folder.path().join(".env"), bytes).expect("written");
    let mistakes = loaded(folder.path(), &[]).expect_err("wrong");
    assert!(mistakes.to_string().contains(expected), "{mistakes}");
}

#[test]
fn a_near_name_in_the_environment_only_warns() {
    let settings = loaded(
        folder(&[]).path(),
        &[("DRY_RUN_MOD", "true"), ("TEMPORAL_PORT", "1")],
    )
    .expect("valid");
    assert_eq!(
        settings.warnings,
        ["DRY_RUN_MOD in the environment is not a setting and is ignored; did you mean DRY_RUN_MODE?"]
    );
}

#[rstest]
#[case::synonym(
    "DRY_RUN=true\n",
    "DRY_RUN (.env, line 1): unknown setting; did you mean DRY_RUN_MODE?"
)]
#[case::squashed("DRYRUN=true\n", "did you mean DRY_RUN_MODE?")]
#[case::enabled("DRY_RUN_ENABLED=true\n", "did you mean DRY_RUN_MODE?")]
#[case::alone("ALLOWLIST=orders\n", "did you mean NAMESPACE_ALLOWLIST?")]
#[case::whitelist("NAMESPACE_WHITELIST=orders\n", "did you mean NAMESPACE_ALLOWLIST?")]
#[case::blacklist("NAMESPACE_BLACKLIST=orders\n", "did you mean NAMESPACE_DENYLIST?")]
#[case::unknown_namespace(
    "MAX_TRU_COUNT=4\nNAMESPACE_GROUP=a\n",
    "NAMESPACE_GROUP (.env, line 2): unknown setting"
)]
#[case::unknown_dry("MAX_TRU_COUNT=4\nDRY_SPELL=a\n", "DRY_SPELL (.env, line 2): unknown setting")]
#[case::unknown_cloud(
    "MAX_TRU_COUNT=4\nTEMPORAL_CLOUD_REGION=a\n",
    "TEMPORAL_CLOUD_REGION (.env, line 2)"
)]
#[case::unknown_slack("MAX_TRU_COUNT=4\nSLACK_CHANNEL=a\n", "SLACK_CHANNEL (.env, line 2)")]
#[case::unknown_capacity("MAX_TRU_COUNT=4\nCAPACITY_LIMIT=a\n", "CAPACITY_LIMIT (.env, line 2)")]
fn a_name_that_looks_like_ours_is_refused_in_a_dotenv(#[case] dotenv: &str, #[case] expected: &str) {
    let mistakes = loaded(folder(&[(".env", dotenv)]).path(), &[]).expect_err("refused");
    assert!(mistakes.to_string().contains(expected), "{mistakes}");
}

#[test]
fn another_programs_dotenv_is_left_alone() {
    let dotenv = "SLACK_BOT_TOKEN=x\nNAMESPACE_PREFIX=y\nDATABASE_URL=z\n";
    loaded(folder(&[(".env", dotenv)]).path(), &[]).expect("not ours");
}

#[test]
fn a_synonym_is_refused_in_a_file_and_causes_a_warning_in_the_environment() {
    let file = folder(&[("capacity.toml", "dry_run = true\n")]);
    let mistakes = loaded(file.path(), &[]).expect_err("refused");
    assert!(
        mistakes.to_string().contains("did you mean `dry_run_mode`?"),
        "{mistakes}"
    );
    let environment = [
        ("NAMESPACE_BLACKLIST", "orders"),
        ("TEMPORAL_CLOUD_API_KEY", "of-terraform"),
        ("TEMPORAL_CLOUD_OPS_API_KEY", "ours"),
    ];
    let settings = loaded(folder(&[]).path(), &environment).expect("valid");
    assert_eq!(
        settings.warnings,
        [
            "NAMESPACE_BLACKLIST in the environment is not a setting and is ignored; did you mean NAMESPACE_DENYLIST?"
        ]
    );
}

#[rstest]
#[case::environment(&[("NAMESPACE_ALLOWLIST", " , ,")], "")]
#[case::quoted_separators(&[("NAMESPACE_ALLOWLIST", "\",\"")], "")]
#[case::file(&[], "namespace_allowlist = [\"\", \" \"]")]
#[case::empty_list(&[], "namespace_allowlist = []")]
fn an_allow_list_that_names_nothing_never_means_everything(
    #[case] environment: &[(&str, &str)],
    #[case] file: &str,
) {
    let mistakes = loaded(folder(&[("capacity.toml", file)]).path(), environment).expect_err("refused");
    assert!(mistakes.to_string().contains("name at least one"), "{mistakes}");
}

#[test]
fn one_pair_of_quotes_is_stripped_in_every_layer() {
    let folder = folder(&[
        ("capacity.toml", "task_queue = \"'mine'\"\n"),
        (".env", "MAX_TRU_COUNT=\"7\"\n"),
        ("ops.key", "\u{feff}\"hunter2\"\r\n"),
    ]);
    let mut inputs = inputs(
        folder.path(),
        &[
            ("DRY_RUN_MODE", "\"true\""),
            ("NAMESPACE_DENYLIST", "\"a\",\"b\""),
            ("TEMPORAL_CLOUD_OPS_API_KEY_FILE", "'ops.key'"),
            ("CLOUD_OPS_API_BASE_URL", "\"https://saas-api.tmprl.cloud/cloud\""),
            (
                "CLOUD_METRICS_API_BASE_URL",
                "https://metrics.temporal.io/v1/metrics",
            ),
            ("TEMPORAL_CLOUD_METRICS_API_KEY", "'s3cret'"),
        ],
    );
    inputs.flags.push((
        "DEFAULT_TRU_COUNT".to_owned(),
        "'6'".to_owned(),
        "--set".to_owned(),
    ));
    let settings = load(&inputs, Needs::default()).expect("valid");
    assert!(settings.dry_run);
    assert_eq!(settings.home.task_queue, "mine");
    assert_eq!(settings.rules.bounds.max_trus.get(), 7);
    let threshold = settings.rules.policy.threshold_settings().expect("threshold");
    assert_eq!(threshold.default_trus().get(), 6);
    assert!(settings.rules.filter.deny.matches(&"b".parse().expect("an id")));
    let ops = settings.cloud_ops.expect("its key");
    assert_eq!(ops.base_url(), "https://saas-api.tmprl.cloud/");
    assert_eq!(
        settings.metrics.expect("its key").base_url(),
        "https://metrics.temporal.io/"
    );
}

#[rstest]
#[case::certificate_as_path(
    "TEMPORAL_CERT_PATH",
    "-----BEGIN CERTIFICATE-----\nhunter2",
    "TEMPORAL_TLS_CLIENT_CERT_DATA"
)]
#[case::key_as_path(
    "TEMPORAL_KEY_PATH",
    "-----BEGIN PRIVATE KEY-----\nhunter2",
    "TEMPORAL_TLS_CLIENT_KEY_DATA"
)]
#[case::path_as_data("TEMPORAL_TLS_CLIENT_KEY_DATA", "/etc/hunter2.key", "contains no PEM text")]
#[case::cut(
    "TEMPORAL_TLS_SERVER_CA_CERT_DATA",
    "-----BEGIN CERTIFICATE-----hunter2",
    "truncated or damaged"
)]
fn a_certificate_in_the_wrong_setting_is_refused_and_not_shown(
    #[case] name: &str,
    #[case] value: &str,
    #[case] expected: &str,
) {
    let mistakes = loaded(folder(&[]).path(), &[(name, value)]).expect_err("refused");
    let text = format!("{mistakes} {mistakes:?}");
    assert!(
        text.contains(expected) && text.contains(name) && !text.contains("hunter2"),
        "{text}"
    );
}

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

#[test]
fn a_named_file_must_exist() {
    let mut inputs = inputs(folder(&[]).path(), &[]);
    inputs.file = Some("elsewhere.toml".into());
    let mistakes = load(&inputs, Needs::default()).expect_err("wrong");
    assert!(
        mistakes.to_string().contains("the settings file cannot be read"),
        "{mistakes}"
    );
}

#[rstest]
#[case::full(Some("auto.a1b2c"), None, Some("auto.a1b2c"))]
#[case::bare_with_a_cloud_address(Some("auto"), Some("auto.a1b2c.tmprl.cloud:7233"), Some("auto.a1b2c"))]
#[case::bare_with_another_name(Some("auto"), Some("other.a1b2c.tmprl.cloud:7233"), None)]
#[case::bare_with_a_regional_address(Some("auto"), Some("us-east-1.aws.api.temporal.io:7233"), None)]
#[case::local(Some("default"), Some("localhost:7233"), None)]
#[case::nothing(None, None, None)]
fn the_own_namespace_is_a_full_id_or_unknown(
    #[case] namespace: Option<&str>,
    #[case] address: Option<&str>,
    #[case] expected: Option<&str>,
) {
    let environment: Vec<(&str, &str)> = [("TEMPORAL_NAMESPACE", namespace), ("TEMPORAL_ADDRESS", address)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let settings = loaded(folder(&[]).path(), &environment).expect("valid");
    assert_eq!(
        settings.home.namespace_id().map(String::from).as_deref(),
        expected
    );
}

fn evaluating(environment: &[(&str, &str)]) -> Result<Settings, Mistakes> {
    let keys = [
        ("TEMPORAL_CLOUD_OPS_API_KEY", "key"),
        ("TEMPORAL_CLOUD_METRICS_API_KEY", "key"),
    ];
    let environment: Vec<(&str, &str)> = environment.iter().copied().chain(keys).collect();
    let needs = Needs {
        cloud_keys: true,
        ..Needs::default()
    };
    load(&inputs(folder(&[]).path(), &environment), needs)
}

#[test]
fn break_even_is_refused_without_a_ledger_or_prometheus_and_says_what_to_set() {
    let refused = |environment: &[(&str, &str)]| evaluating(environment).expect_err("refused").to_string();
    let text = refused(&[("POLICY", "break-even")]);
    assert_eq!(
        text,
        "1 setting is wrong\n  POLICY (environment): break-even needs every minute of the last hour; set LEDGER_URL \
         (for example LEDGER_URL=ledger.db), or METRICS_SOURCE=prometheus with PROMETHEUS_URL"
    );
    let text = refused(&[("POLICY_SHADOW", "break-even")]);
    assert!(text.contains("set LEDGER_URL"), "{text}");
    let text = refused(&[("POLICY", "clever")]);
    assert!(text.contains("use threshold or break-even"), "{text}");
    let text = refused(&[
        ("POLICY", "break-even"),
        ("LEDGER_URL", "ledger.db"),
        ("POLICY_PARAMS", "margin=much"),
    ]);
    assert!(
        text.contains("margin=much is out of range; use a number from 1 to 3"),
        "{text}"
    );
    let text = refused(&[("POLICY_SHADOW", "threshold"), ("LEDGER_URL", "ledger.db")]);
    assert!(text.contains("this policy is already active"), "{text}");
    // The schedule can be created without a ledger.
    assert!(loaded(folder(&[]).path(), &[("POLICY", "break-even")]).is_ok());
}

#[test]
fn break_even_brings_the_defaults_that_it_needs() {
    let with_ledger = |more: &[(&str, &str)]| {
        let base = [("POLICY", "Break-Even"), ("LEDGER_URL", "ledger.db")];
        let environment: Vec<(&str, &str)> = base.into_iter().chain(more.iter().copied()).collect();
        evaluating(&environment).expect("valid")
    };
    let settings = with_ledger(&[("POLICY_PARAMS", "delay_value=0.5")]);
    assert_eq!(settings.rules.policy.name(), "break-even");
    assert!(format!("{:?}", settings.rules.policy).contains("delay_milli: 500"));
    assert_eq!(settings.keep.minutes, jiff::SignedDuration::from_hours(35 * 24));
    let budget = settings.metrics.map(|metrics| metrics.requests_per_hour);
    assert_eq!((budget, settings.warnings.len()), (Some(120), 0));
    let settings = with_ledger(&[
        ("METRICS_REQUESTS_PER_HOUR", "55"),
        ("POLICY_SHADOW", "threshold"),
    ]);
    assert_eq!(
        settings
            .rules
            .shadow
            .map(|policy| policy.name().to_owned())
            .as_deref(),
        Some("threshold")
    );
    assert!(
        settings.warnings[0].contains("set at least 63"),
        "{:?}",
        settings.warnings
    );
    let settings = evaluating(&[
        ("POLICY", "break-even"),
        ("METRICS_SOURCE", "prometheus"),
        ("PROMETHEUS_URL", "http://127.0.0.1:9090"),
    ]);
    let warnings = settings.expect("valid").warnings;
    assert!(
        warnings[0].contains("remembers nothing between evaluations"),
        "{warnings:?}"
    );
}

#[test]
fn the_example_env_names_every_setting_and_is_valid() {
    let text = include_str!("../../../.env.example");
    let folder = folder(&[(".env", text)]);
    loaded(folder.path(), &[]).expect("valid");
    let named = |name: &str| {
        text.lines().any(|line| {
            line.trim_start_matches(['#', ' '])
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('='))
        })
    };
    let missing: Vec<&str> = CATALOG
        .iter()
        .map(|entry| entry.name)
        .filter(|name| !named(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_example_file_names_every_default_and_changes_nothing() {
    let text = include_str!("../capacity.toml");
    let folder = folder(&[("capacity.toml", text)]);
    let settings = loaded(folder.path(), &[]).expect("valid");
    for entry in CATALOG.iter().filter(|entry| entry.default.is_some()) {
        assert_eq!(
            effective(&settings, entry.name).value.as_deref(),
            entry.default,
            "{}",
            entry.name
        );
    }
    for entry in CATALOG.iter().filter(|entry| !entry.is_secret) {
        assert!(text.contains(&entry.name.to_ascii_lowercase()), "{}", entry.name);
    }
}

proptest! {
    #[test]
    fn no_input_panics_and_no_secret_is_shown(
        dotenv in prop::collection::vec(
            (prop::sample::select(CATALOG.iter().map(|entry| entry.name).collect::<Vec<_>>()), "[ -~]{0,12}"), 0..6,
        ),
        environment in prop::collection::btree_map("[A-Z_]{1,20}", "[ -~]{0,12}", 0..4),
    ) {
        let lines: Vec<String> = dotenv.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let folder = folder(&[(".env", &lines.concat())]);
        let mut environment: BTreeMap<String, String> = environment;
        environment.insert("TEMPORAL_CLOUD_OPS_API_KEY".to_owned(), "SECRET hunter2".to_owned());
        let inputs = Inputs { environment, directory: Some(folder.path().to_owned()), ..Inputs::default() };
        let shown = match load(&inputs, Needs { cloud_keys: true, ..Needs::default() }) {
            Ok(settings) => format!("{settings:?}"),
            Err(mistakes) => format!("{mistakes} {mistakes:?}"),
        };
        prop_assert!(!shown.contains("hunter2"), "{}", shown);
    }
}

#[test]
fn the_published_table_of_settings_is_the_catalog() {
    let published = include_str!("../../../docs/settings.md");
    for entry in CATALOG {
        let default = entry
            .default
            .map(|default| format!("`{default}` "))
            .unwrap_or_default();
        let row = format!("| `{}` | {default}| {} |", entry.name, entry.help);
        assert!(published.lines().any(|line| line == row), "missing: {row}");
    }
}
