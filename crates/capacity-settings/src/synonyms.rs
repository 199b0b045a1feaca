//! Other names that people try for our settings.
//!
//! A typo of one or two letters is found by edit distance; a different word is not. If `DRY_RUN=true` or
//! `NAMESPACE_WHITELIST=...` were silently ignored, the autopilot would change an account that its operator
//! believes to be protected.

/// Words that do not change the meaning of a name.
const FILLERS: &[&str] = &[
    "TEMPORAL",
    "CLOUD",
    "CAPACITY",
    "AUTOPILOT",
    "ENABLE",
    "ENABLED",
    "MODE",
    "IS",
    "USE",
    "FLAG",
];

const NAMESPACE_WORDS: &[&str] = &["NAMESPACES", "NAMESPACE", "NS"];

/// Words for an allowlist. Those in the second row count only together with a word for namespaces.
const ALLOW: [&[&str]; 2] = [
    &["ALLOWLIST", "WHITELIST"],
    &[
        "ALLOW",
        "ALLOWED",
        "WHITE",
        "WHITELISTED",
        "INCLUDE",
        "INCLUDED",
        "INCLUDELIST",
        "ONLY",
        "FILTER",
    ],
];

/// Words for a denylist, in the same form.
const DENY: [&[&str]; 2] = [
    &["DENYLIST", "BLACKLIST", "BLOCKLIST"],
    &[
        "DENY",
        "DENIED",
        "BLACK",
        "BLACKLISTED",
        "BLOCK",
        "BLOCKED",
        "EXCLUDE",
        "EXCLUDED",
        "EXCLUDELIST",
        "EXCEPT",
        "IGNORE",
        "IGNORED",
        "IGNORELIST",
        "SKIP",
    ],
];

/// Names without underscores and filler words, with the settings that they mean.
const WORDS: &[(&str, &[&str])] = &[
    ("DRY_RUN_MODE", &["DRYRUN", "DRYRUNONLY"]),
    (
        "DEFAULT_TRU_COUNT",
        &["DEFAULTTRU", "DEFAULTTRUS", "TRUCOUNT", "DEFAULTTRUSCOUNT"],
    ),
    (
        "MAX_TRU_COUNT",
        &["MAXTRU", "MAXTRUS", "MAXIMUMTRUCOUNT", "TRUMAX"],
    ),
    (
        "MIN_ACTIONS_THRESHOLD",
        &[
            "MINACTIONS",
            "ACTIONSTHRESHOLD",
            "MINIMUMACTIONS",
            "MINACTIONSPERHOUR",
        ],
    ),
    (
        "MAX_CONCURRENT_CHANGES",
        &["CONCURRENTCHANGES", "MAXCHANGES", "MAXPARALLELCHANGES"],
    ),
    ("METRICS_REQUESTS_PER_HOUR", &["METRICSBUDGET", "METRICSREQUESTS"]),
    (
        "SLACK_WEBHOOK_URL",
        &[
            "SLACKWEBHOOK",
            "SLACKURL",
            "SLACKHOOK",
            "SLACKHOOKURL",
            "SLACKWEBHOOKURI",
        ],
    ),
    (
        "LEDGER_URL",
        &[
            "LEDGER",
            "LEDGERPATH",
            "LEDGERFILE",
            "LEDGERDSN",
            "LEDGERURI",
            "LEDGERDATABASEURL",
        ],
    ),
    (
        "PROMETHEUS_URL",
        &[
            "PROMETHEUSADDRESS",
            "PROMETHEUSHOST",
            "PROMETHEUSENDPOINT",
            "PROMETHEUSBASEURL",
        ],
    ),
    ("PROMETHEUS_BEARER_TOKEN", &["PROMETHEUSTOKEN"]),
    ("PROMETHEUS_USER", &["PROMETHEUSUSERNAME"]),
    ("TASK_QUEUE", &["TASKQUEUE", "TASKQUEUENAME"]),
];

/// Whole names in which a filler word carries the meaning.
const NAMES: &[(&str, &[&str])] = &[
    (
        "TEMPORAL_CLOUD_OPS_API_KEY",
        &[
            "TEMPORAL_CLOUD_API_KEY",
            "TEMPORAL_OPS_API_KEY",
            "CLOUD_OPS_API_KEY",
            "TEMPORAL_CLOUD_OPS_KEY",
            "CLOUD_OPS_KEY",
        ],
    ),
    (
        "TEMPORAL_CLOUD_METRICS_API_KEY",
        &[
            "TEMPORAL_METRICS_API_KEY",
            "CLOUD_METRICS_API_KEY",
            "TEMPORAL_CLOUD_METRICS_KEY",
            "CLOUD_METRICS_KEY",
        ],
    ),
    (
        "CLOUD_OPS_API_BASE_URL",
        &[
            "CLOUD_OPS_API_URL",
            "CLOUD_OPS_URL",
            "TEMPORAL_CLOUD_OPS_API_BASE_URL",
        ],
    ),
    (
        "CLOUD_METRICS_API_BASE_URL",
        &[
            "CLOUD_METRICS_API_URL",
            "CLOUD_METRICS_URL",
            "TEMPORAL_CLOUD_METRICS_API_BASE_URL",
        ],
    ),
    (
        "TEMPORAL_ADDRESS",
        &[
            "TEMPORAL_HOST",
            "TEMPORAL_URL",
            "TEMPORAL_HOST_URL",
            "TEMPORAL_HOST_PORT",
            "TEMPORAL_ENDPOINT",
            "TEMPORAL_SERVER",
        ],
    ),
    (
        "TEMPORAL_CERT_PATH",
        &[
            "TEMPORAL_CLIENT_CERT",
            "TEMPORAL_CERT",
            "TEMPORAL_TLS_CERT",
            "TEMPORAL_CLIENT_CERT_PATH",
        ],
    ),
    (
        "TEMPORAL_KEY_PATH",
        &[
            "TEMPORAL_CLIENT_KEY",
            "TEMPORAL_TLS_KEY",
            "TEMPORAL_CLIENT_KEY_PATH",
        ],
    ),
    (
        "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
        &[
            "TEMPORAL_SERVER_CA",
            "TEMPORAL_CA_PATH",
            "TEMPORAL_TLS_CA",
            "TEMPORAL_TLS_CA_PATH",
        ],
    ),
];

/// Name prefixes in our own files: such a name is either one of our settings or a mistake.
// Not `TEMPORAL_`: Temporal's own programs have such variables.
const OUR_PREFIXES: &[&str] = &["DRY", "NAMESPACE_", "TEMPORAL_CLOUD_", "SLACK_", "CAPACITY"];

/// Returns the setting that a synonym refers to.
pub(crate) fn synonym(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    // A secret may come from a file under either name.
    let name = name.strip_suffix("_FILE").unwrap_or(&name);
    if let Some((setting, _)) = NAMES.iter().find(|(_, others)| others.contains(&name)) {
        return Some(setting);
    }
    let words: Vec<&str> = name.split('_').filter(|word| !FILLERS.contains(word)).collect();
    // So that `ALLOW_LIST` and `ALLOWLIST` are the same.
    let squashed = words.concat();
    if let Some((setting, _)) = WORDS
        .iter()
        .find(|(_, others)| others.contains(&squashed.as_str()))
    {
        return Some(setting);
    }
    list_of_namespaces(&squashed)
}

fn list_of_namespaces(squashed: &str) -> Option<&'static str> {
    let without = |word: &&str| {
        squashed
            .strip_prefix(*word)
            .or_else(|| squashed.strip_suffix(*word))
    };
    let beside = NAMESPACE_WORDS.iter().find_map(without);
    let is_in = |rows: &[&[&str]; 2]| {
        rows[0].contains(&squashed) || beside.is_some_and(|rest| rows.iter().any(|row| row.contains(&rest)))
    };
    // Only the plural: other programs have a variable NAMESPACE.
    if is_in(&ALLOW) || squashed == "NAMESPACES" {
        Some("NAMESPACE_ALLOWLIST")
    } else if is_in(&DENY) {
        Some("NAMESPACE_DENYLIST")
    } else {
        None
    }
}

/// Returns whether a name in one of our files must be one of our settings.
pub(crate) fn looks_like_ours(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    OUR_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("DRY_RUN", "DRY_RUN_MODE")]
    #[case("DRYRUN", "DRY_RUN_MODE")]
    #[case("dryrun", "DRY_RUN_MODE")]
    #[case("DRY_RUN_ENABLED", "DRY_RUN_MODE")]
    #[case("ENABLE_DRY_RUN", "DRY_RUN_MODE")]
    #[case("CAPACITY_DRY_RUN", "DRY_RUN_MODE")]
    #[case("ALLOWLIST", "NAMESPACE_ALLOWLIST")]
    #[case("ALLOW_LIST", "NAMESPACE_ALLOWLIST")]
    #[case("NAMESPACE_WHITELIST", "NAMESPACE_ALLOWLIST")]
    #[case("NAMESPACES_WHITE_LIST", "NAMESPACE_ALLOWLIST")]
    #[case("ALLOWED_NAMESPACES", "NAMESPACE_ALLOWLIST")]
    #[case("TEMPORAL_NAMESPACES", "NAMESPACE_ALLOWLIST")]
    #[case("NAMESPACE_BLACKLIST", "NAMESPACE_DENYLIST")]
    #[case("BLOCKLIST", "NAMESPACE_DENYLIST")]
    #[case("EXCLUDED_NAMESPACES", "NAMESPACE_DENYLIST")]
    #[case("NAMESPACE_IGNORE", "NAMESPACE_DENYLIST")]
    #[case("TEMPORAL_CLOUD_API_KEY", "TEMPORAL_CLOUD_OPS_API_KEY")]
    #[case("TEMPORAL_METRICS_API_KEY_FILE", "TEMPORAL_CLOUD_METRICS_API_KEY")]
    #[case("SLACK_WEBHOOK", "SLACK_WEBHOOK_URL")]
    #[case("MAX_TRUS", "MAX_TRU_COUNT")]
    #[case("TEMPORAL_HOST", "TEMPORAL_ADDRESS")]
    #[case("TEMPORAL_TASK_QUEUE", "TASK_QUEUE")]
    fn other_names_are_known(#[case] name: &str, #[case] expected: &str) {
        assert_eq!(synonym(name), Some(expected));
        assert!(crate::CATALOG.iter().any(|entry| entry.name == expected));
    }

    #[rstest]
    #[case("INCLUDE")]
    #[case("PATH")]
    #[case("NAMESPACE")]
    #[case("API_KEY")]
    #[case("TERRAFORM_DRY_RUN")]
    #[case("DATABASE_URL")]
    #[case("ONLY")]
    fn names_of_others_are_left_alone(#[case] name: &str) {
        assert_eq!(synonym(name), None);
    }
}
