//! Tests of the `break-even` policy with snapshots, states, restrictions and guards, as in production.

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::break_even::{BreakEvenState, Parameters, RememberedHour};

/// A simulated namespace: work queues at a limit, samples are three minutes late, and changes take two
/// minutes.
struct Life {
    rules: Rules,
    trus: u32,
    envelope: f64,
    waiting: f64,
    samples: Vec<MinuteSample>,
    pending: Option<(i64, u32)>,
    request: Option<CapacityRequest>,
    state: Option<PolicyState>,
    minute: i64,
    changes: Vec<(i64, String)>,
}

/// Returns the time of a minute. An hour starts at minute 0.
fn time(minute: i64) -> Timestamp {
    let begin: Timestamp = "2026-11-20T00:00:00Z".parse().expect("a time");
    begin
        .checked_add(SignedDuration::from_mins(minute))
        .expect("in range")
}

impl Life {
    fn new(policy: &str, envelope: f64) -> Self {
        let policy = PolicyRef::named(policy, &Parameters::default()).expect("built in");
        Self {
            rules: Rules::default().with_policy(policy),
            trus: 0,
            envelope,
            waiting: 0.0,
            samples: Vec::new(),
            pending: None,
            request: None,
            state: None,
            minute: 0,
            changes: Vec::new(),
        }
    }

    fn limit(&self) -> f64 {
        if self.trus == 0 {
            self.envelope
        } else {
            500.0 * f64::from(self.trus)
        }
    }

    /// Simulates a minute with this many actions per second.
    fn minute(&mut self, demand: f64) {
        if let Some((at, trus)) = self.pending
            && at <= self.minute
        {
            self.pending = None;
            self.trus = trus;
            self.request = Some(CapacityRequest {
                state: RequestState::Completed,
                started_at: Some(time(self.minute - 2)),
                ended_at: Some(time(self.minute)),
                operation_id: Some("op".to_owned()),
                ours: true,
                from: None,
                to: None,
            });
        }
        let asked = demand * 60.0 + self.waiting;
        let served = asked.min(self.limit() * 60.0);
        let left = asked - served;
        let throttled = if left > 0.0 {
            (left - self.waiting).max(0.0) + self.waiting
        } else {
            0.0
        };
        self.waiting = left;
        self.samples.push(sample(
            time(self.minute),
            used(LimitKind::Actions, served / 60.0, throttled / 60.0),
        ));
        self.minute += 1;
    }

    fn snapshot(&self) -> Snapshot {
        let visible = self.samples.len().saturating_sub(3);
        let known = self.samples[visible.saturating_sub(60)..visible].iter().copied();
        let mut snapshot = snapshot("pay", self.trus);
        snapshot.envelopes[LimitKind::Actions] = Some(rate(self.envelope));
        if self.trus == 0 {
            snapshot.limits[LimitKind::Actions] = Some(rate(self.envelope));
        }
        let mut info = known_info(self.trus, 12);
        info.on_demand_actions = Some(rate(self.envelope));
        Snapshot {
            usage: UsageWindow::from_samples(known).map_or(ReportedUsage::Missing, ReportedUsage::Known),
            latest_request: self.request.clone(),
            capacity_info: CapacityInfo::Known(info),
            ..snapshot
        }
    }

    /// Evaluates as on schedule. Carries the change out unless a restriction prevents it.
    fn evaluate(&mut self, account: &AccountView) -> Decision {
        let (decision, next) = decide_with_state(
            &self.snapshot(),
            account,
            &self.rules,
            self.state.as_ref(),
            time(self.minute),
        );
        if let Some(next) = next {
            self.state = Some(next);
        }
        if let (true, Some(wanted), None) = (decision.action.is_change(), decision.wanted, self.pending) {
            self.pending = Some((self.minute + 2, wanted.trus()));
            self.changes.push((self.minute, decision.to_string()));
        }
        decision
    }

    /// Simulates minutes with evaluations at minutes 55 and 0, and at every third minute during throttling.
    fn live(&mut self, minutes: i64, demand: impl Fn(i64) -> f64) {
        for _ in 0..minutes {
            self.minute(demand(self.minute));
            let throttled = self
                .samples
                .iter()
                .rev()
                .nth(3)
                .is_some_and(|sample| !sample.usage[LimitKind::Actions].throttled.is_zero());
            let of_hour = self.minute.rem_euclid(60);
            if of_hour == 55 || of_hour == 0 || (throttled && self.minute % 3 == 0) {
                self.evaluate(&account());
            }
        }
    }

    fn remembered(&self) -> BreakEvenState {
        BreakEvenState::decode(&self.state.as_ref().expect("stored").text).expect("readable")
    }
}

/// Busy for 15 minutes from minute 5 on, otherwise quiet.
fn burst(minute: i64) -> f64 {
    if (65..80).contains(&minute) { 1_500.0 } else { 50.0 }
}

#[test]
fn a_burst_is_scaled_up_and_released_at_the_end_of_the_hour() {
    let mut life = Life::new("break-even", 500.0);
    life.live(180, burst);
    let lines: Vec<&str> = life.changes.iter().map(|(_, line)| line.as_str()).collect();
    assert!(lines[0].starts_with("[pay.a1b2c] Enable"), "{lines:?}");
    assert!(lines[0].contains("actions queued, demand"), "{lines:?}");
    assert!(lines[0].contains("without scaling up"), "{lines:?}");
    let (at, last) = life.changes.last().expect("released");
    assert!(
        last.contains("Disable") && last.contains("in top-up"),
        "{lines:?}"
    );
    assert_eq!(at % 60, 55, "before the next hour is billed");
    assert_eq!(life.trus, 0);
    let stored = life.state.expect("left its envelope");
    assert!(stored.text.len() < 1_000);
}

#[test]
fn a_namespace_that_never_left_its_envelope_has_no_state() {
    let mut life = Life::new("break-even", 500.0);
    life.live(26 * 60, |_| 300.0);
    assert_eq!((life.changes.len(), life.state), (0, None));
}

#[rstest]
#[case::threshold("threshold")]
#[case::break_even("break-even")]
fn a_steady_load_changes_nothing_after_the_first_hour(#[case] policy: &str) {
    for load in (0..=8_000_u32).step_by(10) {
        let load = f64::from(load);
        // The on-demand limit after a week of this load, and the limit of a new namespace.
        let ample = (load * 2.0).max(500.0);
        let of_a_week = Some(ample).filter(|ample| *ample > 500.0 && load.rem_euclid(100.0) < 1.0);
        for envelope in [500.0].into_iter().chain(of_a_week) {
            let mut life = Life::new(policy, envelope);
            life.live(24 * 60, |_| load);
            let late: Vec<_> = life.changes.iter().filter(|(at, _)| *at > 60).collect();
            assert!(late.is_empty(), "{load} at an envelope of {envelope}: {late:?}");
        }
    }
}

#[test]
fn a_raise_that_is_not_carried_out_is_not_remembered_as_one() {
    let mut life = Life::new("break-even", 500.0);
    for minute in 0..83 {
        life.minute(if minute < 70 { 50.0 } else { 1_500.0 });
    }
    let paused = AccountView {
        restrictions: vec![Restriction::new(
            Direction::Both,
            ReasonCode::Paused,
            "all changes are paused",
            RestrictionOrigin::Pause,
        )],
        ..account()
    };
    let held = life.evaluate(&paused);
    assert_eq!(outcome(&held), "Hold paused");
    assert!(held.blocked > Some(Capacity::OnDemand) && held.announce, "{held}");
    let chosen: Vec<u32> = held
        .options
        .iter()
        .filter(|it| it.chosen)
        .map(|it| it.trus)
        .collect();
    assert_eq!(
        chosen,
        [held.blocked.map_or(0, Capacity::trus)],
        "the trace is that of the policy"
    );
    // There is no state, because it has not left its on-demand envelope for another size.
    assert_eq!(life.state, None);
    let free = life.evaluate(&account());
    assert!(matches!(free.action, Action::Enable(_)), "{free}");
    assert_eq!(
        life.state, None,
        "whether it is carried out shows in the namespace"
    );
}

fn hours_with_bursts() -> Vec<RememberedHour> {
    vec![RememberedHour::from_bytes([0x8f, 0x56, 15]); 24]
}

fn stored(state: &BreakEvenState, minute: i64) -> PolicyState {
    PolicyState {
        version: 1,
        minute: time(minute).as_second() / 60,
        text: state.encode(),
    }
}

/// Returns the number of hours since 1970 at this minute of the day.
fn hour(minute: i64) -> i64 {
    time(minute).as_second() / 3_600
}

/// Returns a provisioned namespace that has been quiet for an hour, without state, at this minute of the day.
fn quiet_at(minute: i64, trus: u32) -> Life {
    let mut life = Life::new("break-even", 500.0);
    life.trus = trus;
    life.minute = minute - 70;
    for _ in 0..70 {
        life.minute(20.0);
    }
    life
}

#[test]
fn the_latest_request_of_the_namespace_corrects_the_stored_state() {
    let mut life = quiet_at(6 * 60 + 20, 4);
    let planned = BreakEvenState {
        hours: hours_with_bursts(),
        last_plan_hour: hour(6 * 60),
        planned: Some(4),
        changed_minute: -1000,
        ..BreakEvenState::default()
    };
    life.state = Some(stored(&planned, 5 * 60 + 55));
    // Applied at the start of the hour.
    life.request = Some(CapacityRequest {
        state: RequestState::Completed,
        started_at: Some(time(6 * 60)),
        ended_at: Some(time(6 * 60 + 2)),
        operation_id: None,
        ours: true,
        from: None,
        to: None,
    });
    life.evaluate(&account());
    let state = life.remembered();
    assert_eq!(state.planned, None);
    assert_eq!(state.changed_minute, time(6 * 60).as_second() / 60);
    // A failed request is not a change.
    let mut life = quiet_at(6 * 60 + 20, 0);
    life.state = Some(stored(&planned, 5 * 60 + 55));
    life.request = Some(request(RequestState::Failed, 0, true));
    life.evaluate(&account());
    assert_eq!(
        (life.remembered().planned, life.remembered().changed_minute),
        (Some(4), -1000)
    );
}

#[test]
fn an_evaluation_that_only_scales_up_leaves_the_plan_to_the_next() {
    let mut life = quiet_at(6 * 60 + 55, 4);
    let before = BreakEvenState {
        hours: hours_with_bursts(),
        last_plan_hour: hour(6 * 60),
        ..BreakEvenState::default()
    };
    life.state = Some(stored(&before, 6 * 60));
    let only_up = AccountView {
        restrictions: vec![Restriction::new(
            Direction::ScaleDown,
            ReasonCode::ScaleUpOnly,
            "it only scales up",
            RestrictionOrigin::Evaluation,
        )],
        ..account()
    };
    let snapshot = life.snapshot();
    let (decision, next) = decide_with_state(
        &snapshot,
        &only_up,
        &life.rules,
        life.state.as_ref(),
        time(life.minute),
    );
    assert_eq!(outcome(&decision), "Keep worth_keeping");
    let next = BreakEvenState::decode(&next.expect("a state").text).expect("readable");
    assert_eq!(next.hours.len(), 24, "no hour is added");
    life.evaluate(&account());
    assert_eq!(life.remembered().hours.len(), 25);
    assert_eq!(life.remembered().last_plan_hour, hour(7 * 60));
}

#[rstest]
#[case::lost(None)]
#[case::damaged(Some((0, "break-even/1:AAAA")))]
#[case::of_another_version(Some((0, "break-even/2:AAAA")))]
#[case::from_the_future(Some((90, "")))]
fn without_a_usable_state_nothing_is_released_before_the_end_of_the_hour(#[case] state: Option<(i64, &str)>) {
    for minute in 0..60 {
        let mut life = quiet_at(6 * 60 + minute, 4);
        life.state = state.map(|(ahead, text)| {
            let future = stored(&BreakEvenState::default(), 6 * 60 + minute + ahead);
            let text = if text.is_empty() {
                future.text.clone()
            } else {
                text.to_owned()
            };
            PolicyState { text, ..future }
        });
        let decision = life.evaluate(&account());
        if (55..60).contains(&minute) {
            assert_eq!(
                outcome(&decision),
                "Disable not_worth_keeping",
                "minute {minute}: {decision}"
            );
        } else {
            assert_eq!(
                outcome(&decision),
                "Keep worth_keeping",
                "minute {minute}: {decision}"
            );
        }
    }
}

#[test]
fn the_worst_of_three_limits_decides() {
    let mut snapshot = snapshot("pay", 0);
    let samples = (4..64).map(|minutes| {
        let mut usage = used(LimitKind::Actions, 100.0, 0.0);
        usage[LimitKind::Requests] = Usage {
            served: rate(if minutes < 9 { 2_000.0 } else { 300.0 }),
            throttled: rate(if minutes < 9 { 4_000.0 } else { 0.0 }),
        };
        sample(minutes_ago(minutes), usage)
    });
    snapshot.usage = ReportedUsage::Known(UsageWindow::from_samples(samples).expect("not empty"));
    let rules = Rules::default().with_policy(PolicyRef::break_even(Parameters::default()));
    let decision = decide(&snapshot, &account(), &rules, now());
    assert!(matches!(decision.action, Action::Enable(_)), "{decision}");
    assert!(
        decision.reason.contains("the limit on requests decides"),
        "{decision}"
    );
    assert_eq!(decision.policy, "break-even");
    assert_eq!(decision.options.len(), 8);
}

#[test]
fn the_recent_peak_covers_only_the_look_back_of_the_policy() {
    // Quiet for 20 minutes after a busy period. `threshold` would need 60 quiet minutes.
    let mut life = Life::new("break-even", 500.0);
    life.trus = 4;
    for minute in 0..118 {
        life.minute(if minute < 90 { 1_500.0 } else { 50.0 });
    }
    life.minute = 115;
    life.samples.truncate(115);
    let decision = life.evaluate(&account());
    assert_eq!(outcome(&decision), "Disable not_worth_keeping", "{decision}");
    let busy_lately = |minute: i64| if minute > 109 { 1_500.0 } else { 50.0 };
    let mut life = Life::new("break-even", 500.0);
    life.trus = 4;
    for minute in 0..115 {
        life.minute(busy_lately(minute));
    }
    assert!(!life.evaluate(&account()).action.is_change());
}

fn any_state() -> impl Strategy<Value = Option<PolicyState>> {
    let hours = prop::collection::vec(any::<[u8; 3]>().prop_map(RememberedHour::from_bytes), 0..=169);
    let state = (
        hours,
        -200_i64..200,
        -3_000_i64..3_000,
        prop::option::of(0_u32..13),
        -2_i64..2,
        0_u32..13,
        -600_i64..5,
    )
        .prop_map(|(hours, plan, changed, planned, top_hour, top, minute)| {
            let this = hour(6 * 60);
            let state = BreakEvenState {
                hours,
                last_plan_hour: this + plan,
                changed_minute: this * 60 + changed,
                planned,
                top_hour: this + top_hour,
                top,
            };
            stored(&state, 6 * 60 + minute)
        });
    prop_oneof![
        1 => Just(None),
        1 => ".{0,40}".prop_map(|text| Some(PolicyState { version: 1, minute: 0, text })),
        6 => state.prop_map(Some),
    ]
}

/// Generates the minutes before an evaluation, some of them missing.
fn any_minutes() -> impl Strategy<Value = Vec<Option<(f64, f64)>>> {
    let minute = (
        0.0..3_000.0_f64,
        prop_oneof![2 => Just(0.0), 1 => 0.0..3_000.0_f64],
    );
    prop::collection::vec(prop::option::weighted(0.9, minute), 60)
}

fn seen(trus: u32, minutes: &[Option<(f64, f64)>], newest: i64) -> Vec<MinuteSample> {
    let envelope = 500.0;
    let _ = trus;
    minutes
        .iter()
        .rev()
        .zip(0_i64..)
        .filter_map(|(minute, behind)| {
            let (served, throttled) = (*minute)?;
            let usage = used(LimitKind::Actions, served.min(envelope * 12.0), throttled);
            Some(sample(time(newest - behind), usage))
        })
        .collect()
}

fn world(trus: u32, samples: &[MinuteSample]) -> Snapshot {
    let mut snapshot = snapshot("pay", trus);
    snapshot.usage = UsageWindow::from_samples(samples.iter().copied())
        .map_or(ReportedUsage::Missing, ReportedUsage::Known);
    snapshot
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Covers every minute of an hour, and a clock that moved back behind the stored state.
    #[test]
    fn every_state_and_minute_gets_a_decision_and_a_state_that_can_be_stored(
        state in any_state(), minutes in any_minutes(), minute in 0_i64..60,
        trus in prop::sample::select(vec![0_u32, 2, 4, 12]), lag in 2_i64..7,
    ) {
        let now = 6 * 60 + minute;
        let snapshot = world(trus, &seen(trus, &minutes, now - lag));
        let rules = Rules::default().with_policy(PolicyRef::break_even(Parameters::default()));
        let (decision, next) = decide_with_state(&snapshot, &account(), &rules, state.as_ref(), time(now));
        prop_assert!(!decision.reason.is_empty());
        prop_assert!(decision.options.len() <= PolicyTarget::MOST_OPTIONS);
        if let Some(next) = next {
            prop_assert!(next.text.len() < 1_000);
            prop_assert!(BreakEvenState::decode(&next.text).is_ok());
        }
        // The same inputs result in the same decision.
        let again = decide_with_state(&snapshot, &account(), &rules, state.as_ref(), time(now)).0;
        prop_assert_eq!(decision, again);
    }

    #[test]
    fn missing_minutes_never_scale_down(
        state in any_state(), mut minutes in any_minutes(), minute in 0_i64..60, which in 0_usize..2,
        trus in prop::sample::select(vec![2_u32, 4, 12]), many in any::<bool>(),
    ) {
        let newest = minutes.len() - 1;
        if many {
            // Fewer than 48 of 60 minutes are known.
            for slot in minutes.iter_mut().take(newest - 1).step_by(4) {
                *slot = None;
            }
        } else {
            minutes[newest - which] = None;
        }
        let now = 6 * 60 + minute;
        let mut samples = seen(trus, &minutes, now - 3);
        if !many && which == 0 {
            // The account's newest minute is missing for this namespace.
            samples.retain(|sample| sample.minute < time(now - 3));
        }
        let known = samples.len();
        let snapshot = world(trus, &samples);
        let rules = Rules::default().with_policy(PolicyRef::break_even(Parameters::default()));
        let decision = decide_with_state(&snapshot, &account(), &rules, state.as_ref(), time(now)).0;
        let is_down = decision.action.is_change() && decision.wanted < decision.current;
        if known < 48 || (!many && which == 1) {
            prop_assert!(!is_down, "{}", decision);
        }
    }

    #[test]
    fn samples_in_any_order_give_the_same_decision(
        state in any_state(), minutes in any_minutes(), minute in 0_i64..60, turn in 1_usize..59,
        trus in prop::sample::select(vec![0_u32, 4]),
    ) {
        let now = 6 * 60 + minute;
        let mut samples = seen(trus, &minutes, now - 3);
        let rules = Rules::default().with_policy(PolicyRef::break_even(Parameters::default()));
        let decide = |samples: &[MinuteSample]| {
            decide_with_state(&world(trus, samples), &account(), &rules, state.as_ref(), time(now))
        };
        let in_order = decide(&samples);
        let turn = turn % samples.len().max(1);
        samples.rotate_left(turn);
        samples.reverse();
        prop_assert_eq!(in_order, decide(&samples));
    }
}
