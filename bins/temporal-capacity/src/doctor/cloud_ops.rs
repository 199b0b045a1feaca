//! Checks of the Cloud Ops API: the key, its permissions, and the service's clock.

use capacity_autopilot::{Autopilot, may_be_provisioned};
use capacity_engine::NamespaceId;
use human_text::{chain, counted};
use jiff::{SignedDuration, Timestamp};

use super::findings::Checks;

/// A key that expires sooner than this is reported.
const EXPIRY_NOTICE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Maximum number of namespaces named in one finding.
const NAMED: usize = 10;

/// Checks the key, its role, expiry and permissions. Returns the ids of all namespaces.
pub(super) async fn key_and_roles(
    autopilot: &Autopilot,
    provisioned: &mut Vec<NamespaceId>,
    report: &mut Checks,
) -> Option<Vec<String>> {
    let url = "Cloud Ops API";
    let identity = match autopilot.ops().current_identity().await {
        Ok(identity) => identity,
        Err(error) => {
            let remedy = "no namespace can be listed or changed: check TEMPORAL_CLOUD_OPS_API_KEY and CLOUD_OPS_API_BASE_URL";
            report.bad(url, chain(&error), remedy);
            return None;
        }
    };
    let kind = if identity.is_service_account {
        "service account"
    } else {
        "user"
    };
    report.good(
        url,
        format!(
            "connected as {kind} {}, account role {}",
            identity.name, identity.account_role
        ),
    );
    if !identity.is_service_account {
        let remedy = "capacity changes are attributed to this user and stop if the user is removed: use a service account";
        report.odd(
            "Cloud Ops key",
            format!("belongs to the user {}", identity.name),
            remedy,
        );
    }
    // By the service's clock, because the service decides when a key has expired.
    let now = autopilot.ops().server_time().unwrap_or_else(|| autopilot.now());
    expiry(identity.key_expires_at, identity.key_is_disabled, now, report);
    let mut listed = Vec::new();
    if let Err(error) = autopilot
        .ops()
        .for_each_namespace(|namespace| {
            if may_be_provisioned(&namespace) {
                provisioned.extend(namespace.namespace.parse::<NamespaceId>());
            }
            listed.push(namespace.namespace);
        })
        .await
    {
        report.bad(
            "namespaces",
            chain(&error),
            "no decisions are made based on an incomplete list: fix the error shown here",
        );
        return None;
    }
    if listed.is_empty() {
        let remedy =
            "there is nothing to manage: grant the key the Namespace Admin role on the namespaces to manage";
        report.bad("namespaces", "the key has no access to any namespace", remedy);
        return Some(listed);
    }
    roles(&listed, &identity, report);
    Some(listed)
}

/// Checks which of the listed namespaces the key may change.
fn roles(listed: &[String], identity: &cloud_ops_client::Identity, report: &mut Checks) {
    let readable: Vec<&String> = listed
        .iter()
        .filter(|id| identity.may_change(id) == Some(false))
        .collect();
    let unknown = listed
        .iter()
        .filter(|id| identity.may_change(id).is_none())
        .count();
    if readable.is_empty() {
        report.good(
            "roles",
            format!(
                "{} visible, none known to be read-only",
                counted(listed.len(), "namespace")
            ),
        );
    } else {
        let mut names: Vec<&str> = readable.iter().take(NAMED).map(|id| id.as_str()).collect();
        if readable.len() > NAMED {
            names.push("...");
        }
        let finding = format!(
            "{} of {} can be read but not changed: {}",
            readable.len(),
            counted(listed.len(), "namespace"),
            names.join(", ")
        );
        report.bad(
            "roles",
            finding,
            "changes to these fail as `not_permitted`: grant Namespace Admin, or add them to NAMESPACE_DENYLIST",
        );
    }
    if unknown > 0 {
        let remedy =
            "the API does not show custom roles: check that yours allows `cloud.namespace.update` on these";
        report.odd(
            "roles",
            format!(
                "permission to change {} is unknown",
                counted(unknown, "namespace")
            ),
            remedy,
        );
    }
}

fn expiry(expires: Option<Timestamp>, disabled: bool, now: Timestamp, report: &mut Checks) {
    const CHECK: &str = "Cloud Ops key";
    let rotate = "no capacity is changed after it expires: create a new key, set TEMPORAL_CLOUD_OPS_API_KEY, then delete this one";
    match expires {
        _ if disabled => report.bad(
            CHECK,
            "disabled",
            "nothing can be read or changed: enable it, or create a new one",
        ),
        None => report.odd(
            CHECK,
            "Temporal Cloud does not report its expiry date",
            "check the expiry date in the Temporal Cloud UI",
        ),
        Some(at) => {
            let left = at.duration_since(now);
            let finding = format!("expires on {} ({})", at.strftime("%Y-%m-%d"), expires_in(left));
            if left.is_negative() {
                report.bad(CHECK, finding, rotate);
            } else if left < EXPIRY_NOTICE {
                report.odd(CHECK, finding, rotate);
            } else {
                report.good(CHECK, finding);
            }
        }
    }
}

/// Formats a time relative to now, such as `in 1 day` or `3 days ago`.
fn expires_in(left: SignedDuration) -> String {
    let days = usize::try_from(left.abs().as_hours() / 24).unwrap_or(usize::MAX);
    let days = counted(days, "day");
    if left.is_negative() {
        format!("{days} ago")
    } else {
        format!("in {days}")
    }
}

pub(super) fn clock(autopilot: &Autopilot, report: &mut Checks) {
    const CHECK: &str = "clock";
    let Some(service) = autopilot.ops().server_time() else {
        return report.odd(
            CHECK,
            "Temporal Cloud did not send its time",
            "the age of metrics depends on this machine's clock: make sure that NTP is running",
        );
    };
    // The checks of metrics that follow use the corrected clock, as evaluations do.
    let seconds = autopilot.clock().correct(service).abs().as_secs();
    if autopilot.ops().is_local() {
        report.good(
            CHECK,
            "the simulated cloud runs on this machine and has its own clock",
        );
    } else if let Some(behind) = autopilot.clock_skew() {
        let word = if behind.is_positive() {
            "behind"
        } else {
            "ahead of"
        };
        let remedy = "the clock of Temporal Cloud is used instead: check NTP on this machine";
        report.odd(CHECK, format!("{seconds} s {word} Temporal Cloud"), remedy);
    } else {
        report.good(CHECK, format!("differs from Temporal Cloud by {seconds} s"));
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use rstest::rstest;

    use super::expires_in;

    #[rstest]
    #[case::one_day(25, "in 1 day")]
    #[case::days(72, "in 3 days")]
    #[case::over(-48, "2 days ago")]
    fn an_expiry_is_a_number_of_days(#[case] hours: i64, #[case] expected: &str) {
        assert_eq!(expires_in(SignedDuration::from_hours(hours)), expected);
    }
}
