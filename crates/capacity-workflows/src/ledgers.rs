//! Workers of one controller must share a ledger: an hour that another worker has seen is unknown to this one.

use std::collections::BTreeMap;

use capacity_engine::{Lowering, ReasonCode};
use jiff::{SignedDuration, Timestamp};

use crate::activities::CapacityActivities;
use crate::messages::ObserveRequest;

/// A ledger that has not been used for so long is not used any more.
const LATELY: SignedDuration = SignedDuration::from_hours(2);
/// What stands for no ledger.
const NONE: &str = "no ledger";

/// Ledgers of workers that evaluated lately.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ledgers {
    /// With the time of each one's last evaluation (milliseconds since 1970).
    pub(crate) lately: BTreeMap<String, i64>,
    /// This worker's; `None` while it cannot be reached.
    own: Option<String>,
}

impl CapacityActivities {
    pub(crate) async fn ledgers(&self, request: &ObserveRequest) -> Ledgers {
        let own = match self.autopilot.memory() {
            None => Some(NONE.to_owned()),
            Some(memory) => memory
                .call(async |ledger| Ok(ledger.identity().to_owned()))
                .await
                .ok(),
        };
        with(request.ledgers.clone(), own, self.autopilot.now())
    }
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

/// Returns whether an evaluation may give back.
pub(crate) fn lowering(request: &ObserveRequest, ledgers: &Ledgers) -> Lowering {
    if request.raise_only {
        return Lowering::Held {
            code: ReasonCode::RaiseOnly,
            why:
                "high use has triggered this evaluation, which may only raise; acts at the next scheduled one"
                    .to_owned(),
        };
    }
    let others: Vec<&str> = ledgers
        .lately
        .keys()
        .filter(|ledger| Some(*ledger) != ledgers.own.as_ref())
        .map(String::as_str)
        .collect();
    match &ledgers.own {
        Some(own) if !others.is_empty() => Lowering::Held {
            code: ReasonCode::LedgersDiffer,
            why: format!(
                "workers keep different ledgers (this one {own}, others within 2 hours {}): give all the same LEDGER_URL",
                others.join(", ")
            ),
        },
        // Where its own cannot be reached, the evaluation finds that out itself.
        Some(_) | None => Lowering::Allowed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i8) -> Timestamp {
        format!("2026-11-25T{hour:02}:00:00Z").parse().expect("a time")
    }

    fn code(lowering: &Lowering) -> Option<&'static str> {
        match lowering {
            Lowering::Allowed => None,
            Lowering::Held { code, .. } => Some(code.as_str()),
        }
    }

    #[test]
    fn another_workers_ledger_holds_lowering_for_two_hours() {
        let request = ObserveRequest::default();
        let alone = with(BTreeMap::new(), Some("a".to_owned()), at(10));
        assert_eq!(code(&lowering(&request, &alone)), None);
        let other = with(alone.lately.clone(), Some("b".to_owned()), at(11));
        assert_eq!(code(&lowering(&request, &other)), Some("ledgers_differ"));
        let later = with(other.lately, Some("b".to_owned()), at(13));
        assert_eq!(code(&lowering(&request, &later)), None);
    }

    #[test]
    fn a_worker_without_a_ledger_is_another_ledger() {
        let first = with(BTreeMap::new(), Some("a".to_owned()), at(10));
        let second = with(first.lately, Some(NONE.to_owned()), at(10));
        let held = lowering(&ObserveRequest::default(), &second);
        assert_eq!(code(&held), Some("ledgers_differ"));
    }

    #[test]
    fn what_high_use_triggers_may_only_raise() {
        let request = ObserveRequest {
            raise_only: true,
            ..ObserveRequest::default()
        };
        let alone = with(BTreeMap::new(), Some("a".to_owned()), at(10));
        assert_eq!(code(&lowering(&request, &alone)), Some("raise_only"));
    }
}
