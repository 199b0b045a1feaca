//! Checks for pauses opened by `capacity-schedule pause`, so that `apply` obeys them without a worker.

use std::time::Duration;

use anyhow::bail;
use capacity_autopilot::{ChangeOrder, ChangeResult, Ending, Outcome};
use capacity_settings::Settings;
use capacity_workflows::{ConnectError, Installation, Pause, PauseKind, connection, pauses};
use human_text::chain;
use temporalio_client::Client;

use crate::exit::tell;

/// Timeout for connecting to the Temporal service, and for reading the pauses.
const BOUND: Duration = Duration::from_secs(15);

/// The connection for reading pauses; `None` if no Temporal service is configured or reachable.
pub(crate) struct Pauses(Option<(Client, Installation)>);

impl Pauses {
    /// Connects if an address or a namespace is set. An unreachable service only causes a warning, because a capacity change
    /// may be urgent.
    pub(crate) async fn of(settings: &Settings) -> Self {
        if settings.home.address.is_none() && settings.home.namespace.is_none() {
            return Self(None);
        }
        let connected = tokio::time::timeout(BOUND, connect(settings)).await;
        let connected = connected.unwrap_or_else(|_| Err(anyhow::Error::msg(no_response())));
        Self(
            connected
                .inspect_err(|error| unchecked(&format!("{error:#}")))
                .ok(),
        )
    }

    /// Returns the open pauses. Returns none, with a warning, if they cannot be read.
    pub(crate) async fn open(&self) -> Vec<Pause> {
        let Some((client, installation)) = &self.0 else {
            return Vec::new();
        };
        let read = tokio::time::timeout(BOUND, pauses::read_all(client, installation)).await;
        let problem = match read {
            Ok(Ok(pauses)) => return pauses.into_iter().filter(|pause| pause.seen.open).collect(),
            Ok(Err(error)) => chain(&error),
            Err(_) => no_response(),
        };
        unchecked(&problem);
        Vec::new()
    }
}

/// Connects to the service and checks that the namespace exists. Without this check, a misspelled namespace would look like
/// one without pauses.
pub(crate) async fn connect(settings: &Settings) -> anyhow::Result<(Client, Installation)> {
    let identity = format!("temporal-capacity@{}", std::process::id());
    let connection = connection(&settings.home, identity)?;
    let client = connection.connect().await?;
    match connection.check_namespace(&client).await {
        Err(error @ ConnectError::NamespaceMissing { .. }) => bail!(error),
        // Read-only credentials are sufficient.
        _ => Ok((client, Installation::of(&settings.home))),
    }
}

fn unchecked(why: &str) {
    tell(&format!("warning: pauses could not be checked: {why}"));
}

fn no_response() -> String {
    format!("no response from the Temporal service in {} s", BOUND.as_secs())
}

/// Returns an error if all changes are paused.
pub(crate) fn refuse(paused: &[Pause]) -> anyhow::Result<()> {
    for pause in paused {
        match pause.kind {
            PauseKind::All => bail!(
                "nothing was changed: {}. Run `capacity-schedule resume` to end the pause",
                pause.sentence()
            ),
            PauseKind::Spec => bail!(
                "nothing was changed: {}. Check the spec in Temporal Cloud, then run `capacity-schedule resume --spec-checked`",
                pause.sentence()
            ),
            _ => {}
        }
    }
    Ok(())
}

/// Removes the orders whose direction is paused, and returns them as refused changes.
pub(crate) fn held(orders: &mut Vec<ChangeOrder>, paused: &[Pause]) -> Vec<ChangeResult> {
    let mut results = Vec::new();
    orders.retain(|order| {
        // On-demand counts as 0 TRUs.
        let scales_up = order.to.trus() > order.from.trus();
        let Some(pause) = paused.iter().find(|pause| pause.kind.stops(scales_up)) else {
            return true;
        };
        results.push(ChangeResult::new(
            order.operation_id.as_str(),
            order.namespace.as_str(),
            (order.from.trus(), order.to.trus()),
            Ending::because(Outcome::Refused, pause.sentence()),
        ));
        false
    });
    results
}

#[cfg(test)]
mod tests {
    use capacity_engine::Capacity;

    use super::*;

    fn pause(kind: PauseKind) -> Pause {
        let seen = serde_json::json!({
            "open": true,
            "reason": "rotating keys",
            "by": "ana@laptop",
            "until": "2026-11-25T12:00:00Z",
        });
        let seen = serde_json::from_value(seen).expect("a pause");
        Pause { kind, seen }
    }

    #[test]
    fn a_pause_of_all_changes_refuses_with_author_reason_end_and_remedy() {
        let error = refuse(&[pause(PauseKind::All)]).expect_err("refused").to_string();
        assert_eq!(
            error,
            "nothing was changed: changes are paused by ana@laptop, until 2026-11-25 12:00 UTC: rotating keys. \
             Run `capacity-schedule resume` to end the pause"
        );
        let error = refuse(&[pause(PauseKind::Spec)]).expect_err("refused");
        assert!(
            error
                .to_string()
                .ends_with("`capacity-schedule resume --spec-checked`")
        );
        refuse(&[pause(PauseKind::ScaleUp), pause(PauseKind::ScaleDown)]).expect("one direction at a time");
    }

    #[test]
    fn a_pause_of_one_direction_holds_only_its_changes() {
        let order = |name: &str, from, to| ChangeOrder {
            namespace: name.parse().expect("a name"),
            from: Capacity::from_trus(from),
            to: Capacity::from_trus(to),
            operation_id: format!("change-{name}"),
            resource_version: "1".to_owned(),
            sample_minute: None,
        };
        let mut orders = vec![order("up.a1b2c", 0, 2), order("down.a1b2c", 4, 0)];
        let held = held(&mut orders, &[pause(PauseKind::ScaleDown)]);
        assert_eq!(orders.len(), 1);
        assert_eq!(held.len(), 1);
        assert_eq!(held[0].namespace, "down.a1b2c");
        assert_eq!(held[0].outcome, Outcome::Refused);
        assert!(
            held[0]
                .error
                .as_deref()
                .is_some_and(|why| why.contains("ana@laptop"))
        );
    }
}
