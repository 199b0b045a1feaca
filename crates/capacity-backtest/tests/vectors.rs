//! The replay of a real trace matches the reference vectors at their minutes.

use std::collections::BTreeMap;

use capacity_backtest::{BacktestPolicy, BreakEven, Decided, Settings, Trace, View, run_policy};
use capacity_engine::break_even::Parameters;
use serde_json::Value;

/// Maximum difference from a minute of the reference, which rounds up, while we round to the nearest action.
const ROUNDING: i64 = 1;

/// `break-even`, compared with the vectors at every minute that has one.
struct Compared {
    policy: BreakEven,
    cases: BTreeMap<i64, Value>,
    same: usize,
}

impl BacktestPolicy for Compared {
    fn decide(&mut self, view: &View<'_>, explain: bool) -> Decided {
        if let Some(case) = self.cases.remove(&view.now) {
            let input = &case["input"];
            let expected: Vec<Option<(i64, i64)>> =
                serde_json::from_value(input["window"].clone()).expect("a window");
            for (expected, minute) in expected.iter().zip(view.window) {
                let minute = minute.map(|minute| (minute.served, minute.throttled));
                let differs = match (expected, minute) {
                    (Some(expected), Some(minute)) => {
                        expected.0 != minute.0 || (expected.1 - minute.1).abs() > ROUNDING
                    }
                    (expected, minute) => expected.is_some() != minute.is_some(),
                };
                assert!(!differs, "minute {}: {minute:?}, not {expected:?}", view.now);
            }
            assert_eq!(i64::from(view.current), input["option"], "minute {}", view.now);
            assert_eq!(view.envelope, input["envelope"], "minute {}", view.now);
            let state = self.policy.state();
            let hours: String = state
                .hours
                .iter()
                .flat_map(|hour| hour.bytes().map(|byte| format!("{byte:02x}")))
                .collect();
            assert_eq!(hours, case["state"]["hours"], "minute {}", view.now);
            assert_eq!(
                state.changed_minute, case["state"]["changed_minute"],
                "minute {}",
                view.now
            );
            self.same += 1;
        }
        self.policy.decide(view, explain)
    }
}

#[test]
fn the_replay_reaches_the_situations_of_the_vectors() {
    let document: Value =
        serde_json::from_str(include_str!("../../../fixtures/break-even/vectors.json")).expect("JSON");
    let usual = |case: &&Value| {
        let parameters = &case["params"];
        case["series"] == "nab-ec2net"
            && parameters["delay_milli"] == 1000
            && parameters["min_tru"] == 0
            && parameters["history_days"] == 7
    };
    let cases = document["cases"].as_array().expect("cases").iter().filter(usual);
    let cases: BTreeMap<i64, Value> = cases
        .map(|case| (case["input"]["now"].as_i64().expect("a minute"), case.clone()))
        .collect();
    let number = cases.len();
    let trace = Trace::parse(include_str!("../../../fixtures/traces/nab-ec2net.csv")).expect("a trace");
    let mut policy = Compared {
        policy: BreakEven::new(Parameters::default()),
        cases,
        same: 0,
    };
    run_policy(&trace, &mut policy, &Settings::for_trace(&trace));
    assert_eq!(
        policy.cases.keys().collect::<Vec<_>>(),
        Vec::<&i64>::new(),
        "not reached"
    );
    assert!(
        number >= 15 && policy.same == number,
        "{} of {number}",
        policy.same
    );
}
