//! Which layer wins, and what the values mean.

use rstest::rstest;

use super::{effective, folder, inputs, loaded};
use crate::{Needs, load};

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
