//! Misspelled names, and files that cannot be read in full.

use rstest::rstest;

use super::{folder, loaded};

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
