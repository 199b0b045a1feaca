//! Generates documents like those of the Temporal Cloud metrics endpoint, for benchmarks and allocation
//! tests.

use std::fmt::Write as _;

/// Families from Temporal's metrics reference, with their labels besides namespace and account.
const FAMILIES: [(&str, &str); 6] = [
    (
        "temporal_cloud_v1_total_action_count",
        r#",is_background="false",namespace_mode="active""#,
    ),
    (
        "temporal_cloud_v1_total_action_throttled_count",
        r#",region="aws-us-east-1""#,
    ),
    ("temporal_cloud_v1_action_limit", r#",region="aws-us-east-1""#),
    (
        "temporal_cloud_v1_operations_count",
        r#",region="aws-eu-central-1",operation="RespondWorkflowTaskCompleted",is_background="false",namespace_mode="active""#,
    ),
    (
        "temporal_cloud_v1_service_request_count",
        r#",region="aws-us-east-1",operation="PollWorkflowTaskQueue""#,
    ),
    ("temporal_cloud_v1_provisioned_capacity_tru_count", ""),
];

const TEAMS: [&str; 8] = [
    "orders",
    "payments-eu",
    "fraud",
    "search-index",
    "billing",
    "warehouse-returns",
    "ml",
    "customer-notifications",
];

/// Writes a document of `points` samples: every family has an equal share, with one series per namespace, all
/// for one minute.
pub(crate) fn temporal_like(points: usize) -> String {
    let mut text = String::with_capacity(points * 190);
    let per_family = points.div_ceil(FAMILIES.len());
    let mut written = 0;
    for (family, labels) in FAMILIES {
        let _ = writeln!(
            text,
            "# HELP {family} A measurement of one minute.\n# TYPE {family} gauge"
        );
        for index in 0..per_family.min(points - written) {
            let team = TEAMS[index % TEAMS.len()];
            let value = index.wrapping_mul(7919) % 1_000_003;
            let _ = writeln!(
                text,
                r#"{family}{{temporal_namespace="{team}-{index}.a1b2c",temporal_account="a1b2c"{labels}}} {}.{:03} 1764050400"#,
                value / 1000,
                value % 1000
            );
            written += 1;
        }
    }
    text.push_str("# EOF\n");
    text
}
