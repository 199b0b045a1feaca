//! Checks that the workers of one controller share a ledger. If they do not, one worker does not see the usage that another has
//! recorded.

use std::collections::BTreeMap;

use capacity_autopilot::Autopilot;
use capacity_engine::{Direction, ReasonCode, Restriction, RestrictionOrigin};
use jiff::{SignedDuration, Timestamp};

use crate::messages::ObserveRequest;

/// Time without use after which a ledger counts as no longer in use.
const LATELY: SignedDuration = SignedDuration::from_hours(2);
/// The value for a worker without a ledger.
const NONE: &str = "no ledger";

/// Ledgers of workers that evaluated recently.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ledgers {
    /// Ledgers, with the time of each one's last evaluation (milliseconds since 1970).
    pub(crate) lately: BTreeMap<String, i64>,
    /// This worker's ledger; `None` while it cannot be reached.
    own: Option<String>,
}

/// Returns the ledgers of the workers that evaluated recently, including this worker's.
pub(crate) async fn lately(autopilot: &Autopilot, request: &ObserveRequest) -> Ledgers {
    let own = match autopilot.ledger() {
        None => Some(NONE.to_owned()),
        Some(ledger) => ledger
            .call(async |ledger| Ok(ledger.identity().to_owned()))
            .await
            .ok(),
    };
    with(request.ledgers.clone(), own, autopilot.now())
}

fn with(mut lately: BTreeMap<String, i64>, own: Option<String>, now: Timestamp) -> Ledgers {
    let oldest = now
        .saturating_sub(LATELY)
        .unwrap_or(Timestamp::MIN)
        .as_millisecond();
    lately.retain(|_, at| *at >= oldest);
    if let Some(own) = &own {
        lately.insert(own.clone(), now.as_millisecond());
    }
    Ledgers { lately, own }
}

/// Returns the restrictions on changes in an evaluation.
pub(crate) fn restrictions(request: &ObserveRequest, ledgers: &Ledgers) -> Vec<Restriction> {
    let scale_up_only = request.scale_up_only.then(|| {
        Restriction::new(
            Direction::ScaleDown,
            ReasonCode::ScaleUpOnly,
            "this evaluation was triggered by high usage and only scales up; scale-downs wait for the next scheduled one",
            RestrictionOrigin::Evaluation,
        )
    });
    scale_up_only.into_iter().chain(ledgers_differ(ledgers)).collect()
}

/// Returns a restriction if ledgers differ. Returns `None` if this worker's own ledger cannot be reached,
/// which the evaluation detects itself.
fn ledgers_differ(ledgers: &Ledgers) -> Option<Restriction> {
    let own = ledgers.own.as_ref()?;
    let lately = ledgers.lately.keys();
    let others: Vec<&str> = lately.filter(|it| *it != own).map(String::as_str).collect();
    (!others.is_empty()).then(|| {
        let reason = format!(
            "workers use different ledgers (this one {own}, others within 2 hours {}); set the same LEDGER_URL for all of them",
            others.join(", ")
        );
        Restriction::new(
            Direction::ScaleDown,
            ReasonCode::LedgersDiffer,
            reason,
            RestrictionOrigin::Ledger,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i8) -> Timestamp {
        format!("2026-11-25T{hour:02}:00:00Z").parse().expect("a time")
    }

    fn codes(restrictions: &[Restriction]) -> Vec<&'static str> {
        restrictions.iter().map(|it| it.code.as_str()).collect()
    }

    #[test]
    fn another_workers_ledger_forbids_scaling_down_for_two_hours() {
        let request = ObserveRequest::default();
        let alone = with(BTreeMap::new(), Some("a".to_owned()), at(10));
        assert_eq!(codes(&restrictions(&request, &alone)), [""; 0]);
        let other = with(alone.lately.clone(), Some("b".to_owned()), at(11));
        assert_eq!(codes(&restrictions(&request, &other)), ["ledgers_differ"]);
        let later = with(other.lately, Some("b".to_owned()), at(13));
        assert_eq!(codes(&restrictions(&request, &later)), [""; 0]);
    }

    #[test]
    fn a_worker_without_a_ledger_is_another_ledger() {
        let first = with(BTreeMap::new(), Some("a".to_owned()), at(10));
        let second = with(first.lately, Some(NONE.to_owned()), at(10));
        let held = restrictions(&ObserveRequest::default(), &second);
        assert_eq!(codes(&held), ["ledgers_differ"]);
    }

    #[test]
    fn an_evaluation_triggered_by_high_usage_only_scales_up() {
        let request = ObserveRequest {
            scale_up_only: true,
            ..ObserveRequest::default()
        };
        let alone = with(BTreeMap::new(), Some("a".to_owned()), at(10));
        assert_eq!(codes(&restrictions(&request, &alone)), ["scale_up_only"]);
    }
}
