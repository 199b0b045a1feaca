//! Tests against the reference vectors, and of the texts in the worked examples.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Document {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    series: String,
    covers: Vec<String>,
    input: Input,
    state: StoredState,
    params: Params,
    decision: Decided,
    state_after: StoredState,
}

#[derive(Deserialize)]
struct Input {
    now: i64,
    newest: i64,
    option: u32,
    envelope: i64,
    window: Vec<Option<(i64, i64)>>,
}

#[derive(Deserialize)]
struct StoredState {
    hours: String,
    last_plan_hour: i64,
    changed_minute: i64,
    planned: Option<u32>,
    top_hour: i64,
    top: u32,
}

#[derive(Deserialize)]
struct Params {
    delay_milli: i64,
    let_pass_milli: i64,
    move_milli: i64,
    margin_pct: i64,
    look_back: usize,
    history_days: usize,
    free_share_pct: i64,
    min_tru: u32,
    max_tru: u32,
}

#[derive(Deserialize)]
struct Decided {
    option: u32,
    rule: String,
    costs: Vec<i64>,
}

const LADDER: [u32; 7] = [2, 3, 4, 6, 8, 10, 12];

impl From<&StoredState> for BreakEvenState {
    fn from(stored: &StoredState) -> Self {
        let digits = stored.hours.as_bytes().chunks(2);
        let digits = digits.map(|two| std::str::from_utf8(two).expect("hex"));
        let bytes: Vec<u8> = digits
            .map(|two| u8::from_str_radix(two, 16).expect("hex"))
            .collect();
        let (hours, rest) = bytes.as_chunks::<3>();
        assert!(rest.is_empty());
        Self {
            hours: hours.iter().copied().map(RememberedHour::from_bytes).collect(),
            last_plan_hour: stored.last_plan_hour,
            changed_minute: stored.changed_minute,
            planned: stored.planned,
            top_hour: stored.top_hour,
            top: stored.top,
        }
    }
}

impl From<&Params> for Parameters {
    fn from(params: &Params) -> Self {
        Self {
            delay_milli: params.delay_milli,
            let_pass_milli: params.let_pass_milli,
            move_milli: params.move_milli,
            margin_percent: params.margin_pct,
            look_back_minutes: params.look_back,
            history_days: params.history_days,
            free_share_percent: params.free_share_pct,
            min_trus: params.min_tru,
            max_trus: params.max_tru,
        }
    }
}

fn cases() -> Vec<Case> {
    let document = include_str!("../../../../../fixtures/break-even/vectors.json");
    let document: Document = serde_json::from_str(document).expect("the vectors are JSON");
    document.cases
}

fn window(slots: &[Option<(i64, i64)>]) -> Window {
    let slots = slots
        .iter()
        .map(|slot| slot.map(|(served, throttled)| MinuteActions { served, throttled }));
    slots.collect::<Vec<_>>().try_into().expect("60 slots")
}

/// Returns the decision for a case in the format of the vectors. The state is stored and read in between, as
/// in production.
fn decided(case: &Case) -> (u32, &'static str, Vec<i64>, BreakEvenState, String) {
    let ladder = LADDER.map(Size::documented);
    let window = window(&case.input.window);
    let situation = Situation {
        now: case.input.now,
        newest: case.input.newest,
        current: case.input.option,
        envelope: case.input.envelope,
        ladder: &ladder,
        window: &window,
        billed_permille: 1000,
    };
    let before = BreakEvenState::from(&case.state);
    let before = BreakEvenState::decode(&before.encode()).expect("just stored");
    let (outcome, after) = evaluate(&situation, &before, &Parameters::from(&case.params));
    let costs = outcome.costs.iter().map(|cost| cost.cost).collect();
    let sentence = outcome.sentence(&situation, &|cost| format!("{cost} actions"));
    (outcome.option, outcome.rule.name(), costs, after, sentence)
}

#[test]
fn every_reference_vector_gives_the_same_decision_costs_and_state() {
    let cases = cases();
    assert_eq!(cases.len(), 128);
    let mut differences = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let (option, rule, costs, state, _) = decided(case);
        let expected = &case.decision;
        let differs = |what: &str| format!("case {number} ({}, {:?}): {what}", case.series, case.covers);
        if (option, rule) != (expected.option, expected.rule.as_str()) {
            differences.push(differs(&format!(
                "{option} {rule}, not {} {}",
                expected.option, expected.rule
            )));
        }
        if costs != expected.costs {
            differences.push(differs(&format!("costs {costs:?}, not {:?}", expected.costs)));
        }
        let expected = BreakEvenState::from(&case.state_after);
        if state != expected {
            differences.push(differs(&format!("state {state:?}, not {expected:?}")));
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

#[test]
fn every_decision_has_a_sentence_with_its_option() {
    for case in cases() {
        let (option, rule, _, _, sentence) = decided(&case);
        let named = match (rule, option) {
            ("hold" | "blind", _) => "hold".to_owned(),
            (_, 0) => "on-demand".to_owned(),
            (_, trus) => format!("{trus} TRU"),
        };
        assert!(sentence.contains(&named), "{rule} {option}: {sentence}");
    }
}

fn worked_raise() -> Window {
    let mut slots = vec![Some((12_000, 0)); 58];
    slots.extend([Some((30_000, 45_000)), Some((30_000, 75_000))]);
    window(&slots)
}

#[test]
fn the_worked_raise_of_the_specification_reads_as_a_sentence() {
    let ladder = LADDER.map(Size::documented);
    let window = worked_raise();
    let situation = Situation {
        now: 6020,
        newest: 6017,
        current: 0,
        envelope: 30_000,
        ladder: &ladder,
        window: &window,
        billed_permille: 1000,
    };
    let (outcome, state) = evaluate(&situation, &BreakEvenState::default(), &Parameters::default());
    let costs: Vec<i64> = outcome.costs.iter().map(|cost| cost.cost).collect();
    assert_eq!(
        costs,
        [
            3_942_000, 1_542_000, 990_000, 750_000, 1_230_000, 1_890_000, 2_610_000, 3_330_000
        ]
    );
    assert_eq!(
        outcome.sentence(&situation, &|cost| format!(
            "${}.{:02}",
            cost / 20_000,
            cost % 20_000 / 200
        )),
        "4 TRUs: throttled in 2 of the last 10 min, 60,000 actions queued, demand 1,000 APS; \
         expected cost $37.50, or $197.10 without scaling up"
    );
    assert!(!state.is_blank());
}
