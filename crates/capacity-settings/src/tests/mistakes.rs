//! Values: prices, lists, and every mistake at once.

use rstest::rstest;

use super::{folder, inputs, loaded};
use crate::{Needs, load};

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
fn an_empty_value_counts_as_not_set_and_is_refused_in_a_flag() {
    let folder = folder(&[
        ("capacity.toml", "max_tru_count = 8\nledger_url = \"\"\n"),
        (".env", "MAX_TRU_COUNT=\n"),
    ]);
    let environment = [("MAX_TRU_COUNT", " "), ("LEDGER_URL", "\"\"")];
    let settings = loaded(folder.path(), &environment).expect("valid");
    assert_eq!(settings.rules.bounds.max_trus.get(), 8);
    assert!(settings.ledger.is_none());

    let mut inputs = inputs(folder.path(), &environment);
    for value in ["", " ", "''"] {
        inputs.flags = vec![("LEDGER_URL".to_owned(), value.to_owned(), "--set".to_owned())];
        let mistakes = load(&inputs, Needs::default()).expect_err("refused").to_string();
        assert!(
            mistakes.contains("LEDGER_URL") && mistakes.contains("leave the flag out"),
            "{mistakes}"
        );
    }
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
