//! Exports and imports tables: nothing is lost, nothing is counted twice, and an invalid file changes
//! nothing.

use capacity_ledger::{DecisionRecord, ErrorKind, Format, HistoryFilter, Ledger, Minute, Table};
use jiff::SignedDuration;
use rstest::rstest;

use crate::places::Kind::{self, Postgres, Sqlite};
use crate::places::{
    ACCOUNT, at, change, decision, evaluation, minute, opened, policy_decision, policy_state, sample,
};

/// In an order in which they can be imported.
const TABLES: [Table; 7] = [
    Table::Minutes,
    Table::Hours,
    Table::Evaluations,
    Table::Decisions,
    Table::Changes,
    Table::PolicyState,
    Table::PolicyDecisions,
];

/// Fills every table, with text that is hard to encode.
async fn fill(ledger: &Ledger) {
    // The last minute of an hour, which is aggregated, and the first of the next; the first one gets the
    // lowest number.
    let begin = 60 - at(0).as_second().div_euclid(60).rem_euclid(60);
    let minutes = [
        minute(
            begin + 3,
            vec![sample("zoo", 3), sample("\u{e9}t\u{e9}", 9), sample("Bank", 0)],
        ),
        minute(begin + 2, vec![sample("Bank", 7), sample("\u{e9}t\u{e9}", 1)]),
        Minute {
            complete: false,
            ..minute(begin + 4, Vec::new())
        },
        minute(begin - 1, vec![sample("zoo", 5), sample("pay", 6)]),
    ];
    for it in minutes {
        ledger
            .record_minute(ACCOUNT, &it, at(200))
            .await
            .expect("recorded");
    }
    let (keep, years) = (SignedDuration::from_mins(3), SignedDuration::from_hours(24 * 900));
    let pruned = ledger.prune(at(begin + 4), keep, years, years).await;
    assert_eq!(pruned.expect("pruned").minutes, 1);
    for (plan, minute) in [("p9", 1), ("P1", 2), ("p1", 2)] {
        let decisions = [
            DecisionRecord {
                current_trus: None,
                known_minutes: None,
                reason: "two\nlines, a \"quote\", a | and \u{fc}\u{4e16}".to_owned(),
                ..decision(plan, "orders.a1b2c", "Hold")
            },
            decision(plan, "Pay.a1b2c", "Disable"),
        ];
        ledger
            .record_evaluation(&evaluation(plan, minute, plan == "p9"), &decisions)
            .await
            .expect("recorded");
    }
    let of_policies = [
        policy_decision("p1", "orders.a1b2c", true),
        policy_decision("p1", "Pay.a1b2c", false),
    ];
    ledger
        .record_policy_decisions(&of_policies)
        .await
        .expect("recorded");
    let mut failed = change("p1", "Pay.a1b2c", "failed");
    failed.error = Some("503,\r\n\"busy\"".to_owned());
    let changes = [failed, change("P1", "Pay.a1b2c", "changed")];
    ledger.record_changes(&changes).await.expect("recorded");
    let states = ["pay.a1b2c", "Orders.a1b2c"]
        .map(|namespace| policy_state(namespace, 1, "{\"debt\": 1,\n\"text\": \"\\\"\"}\n"));
    ledger.store_policy_states(&states).await.expect("stored");
}

async fn exported(ledger: &Ledger, table: Table, format: Format) -> Vec<u8> {
    let mut file = Vec::new();
    ledger.export(table, format, &mut file).await.expect("taken out");
    file
}

#[rstest]
#[case::csv_from_file_to_server(Sqlite, Postgres, Format::Csv)]
#[case::csv_from_server_to_file(Postgres, Sqlite, Format::Csv)]
#[case::json_from_file_to_file(Sqlite, Sqlite, Format::JsonLines)]
#[case::json_from_server_to_server(Postgres, Postgres, Format::JsonLines)]
#[tokio::test]
async fn exporting_importing_and_exporting_again_gives_the_same_bytes(
    #[case] from: Kind,
    #[case] to: Kind,
    #[case] format: Format,
) {
    opened!(from, &format!("out_{from:?}_{format:?}"), _from, ledger);
    opened!(to, &format!("in_{to:?}_{format:?}"), _to, copy);
    fill(&ledger).await;
    for (table, rows) in TABLES.into_iter().zip([3, 2, 3, 6, 2, 2]) {
        let file = exported(&ledger, table, format).await;
        let new = copy.import(table, format, &file[..]).await.expect("taken in");
        assert_eq!(new, rows, "{table:?}");
        let again = copy
            .import(table, format, &file[..])
            .await
            .expect("taken in again");
        assert_eq!(again, 0, "{table:?}");
        let second = exported(&copy, table, format).await;
        assert_eq!(
            String::from_utf8_lossy(&second),
            String::from_utf8_lossy(&file),
            "{table:?}"
        );
    }
    let history = |ledger: Ledger| async move {
        let history = ledger.history(None, &HistoryFilter::default()).await;
        history.expect("readable")
    };
    assert_eq!(history(copy.clone()).await, history(ledger.clone()).await);
    let whole = (at(0), at(200));
    let mut windows = Vec::new();
    for ledger in [&ledger, &copy] {
        let mut window = ledger.window(ACCOUNT, whole.0, whole.1).await.expect("readable");
        for it in &mut window {
            it.samples
                .sort_by(|one, other| one.namespace.cmp(&other.namespace));
        }
        windows.push(window);
    }
    assert_eq!(windows[0], windows[1]);
    assert_eq!(copy.verify().await.expect("readable"), Vec::<String>::new());
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn a_truncated_file_or_a_bad_line_changes_nothing_and_the_line_is_named(#[case] kind: Kind) {
    opened!(Sqlite, "whole", _whole, ledger);
    opened!(kind, "cut", _place, empty);
    fill(&ledger).await;
    for format in [Format::Csv, Format::JsonLines] {
        for table in TABLES {
            let file = exported(&ledger, table, format).await;
            if table == Table::Decisions {
                let evaluations = exported(&ledger, Table::Evaluations, format).await;
                let taken = empty.import(Table::Evaluations, format, &evaluations[..]).await;
                taken.expect("taken in");
            }
            let text = String::from_utf8(file).expect("text");
            let lines = text.lines().count();
            // Within the last field, and within the last line.
            let cuts = match format {
                Format::Csv => vec![&text[..text.len() - 1], &text[..text.len() - 9]],
                Format::JsonLines => vec![&text[..text.len() - 2], &text[..text.len() - 9]],
                _ => unreachable!("a format that this test does not know"),
            };
            for cut in cuts {
                let error = empty.import(table, format, cut.as_bytes()).await;
                let error = error.expect_err("cut short");
                assert_eq!(error.kind(), ErrorKind::Input, "{error}");
                assert!(error.to_string().starts_with("line "), "{table:?}: {error}");
            }
            let bad = format!("{text}nonsense\n");
            let error = empty.import(table, format, bad.as_bytes()).await;
            let error = error.expect_err("a bad line").to_string();
            let number = format!("line {}: ", lines + 1);
            assert!(error.starts_with(&number), "{table:?}: {error}, not {number}");
        }
    }
    let mut rows = empty.info().await.expect("readable").rows;
    assert_eq!(
        rows.remove("evaluations"),
        Some(3),
        "taken in for their decisions"
    );
    assert!(rows.values().all(|rows| *rows == 0), "{rows:?}");
}

#[rstest]
#[case::field(
    Table::Changes,
    "operation_id,account,plan_id,namespace,from_trus,to_trus,outcome,error,ended_at_ms,by\n\
     \"o\n1\",a,p,n,0,4,changed,,5,w\no2,a,p,n,zero,4,changed,,5,w\n",
    "line 4: from_trus: invalid digit"
)]
#[case::time(
    Table::Evaluations,
    "account,plan_id,evaluated_at_ms,dry_run,blind,by,usage_window,price_micro_dollars\n\
     a,p,9223372036854775807,true,false,w,ledger,5\n",
    "line 2: 9223372036854775807 is not a valid time in milliseconds"
)]
#[case::hour(
    Table::Hours,
    "account,namespace,hour,known_minutes,throttled_minutes,actions_sum,requests_sum,operations_sum,\
     actions_highest,requests_highest,operations_highest,actions_known_minutes,requests_known_minutes,\
     operations_known_minutes\na,n,9000000000000000000,1,1,1,1,1,1,1,1,1,1,1\n",
    "line 2: the hour 9000000000000000000 is out of range"
)]
#[case::another_table(
    Table::PolicyState,
    "account,plan_id\na,p\n",
    "line 2: missing field `namespace`"
)]
#[case::state_too_long(
    Table::PolicyState,
    &format!("account,namespace,policy,version,minute,state\na,n,p,1,7,{}\n", "x".repeat(1025)),
    "line 2: the state of p for n is 1025 bytes long, but the maximum is 1024"
)]
#[case::evaluation_missing(
    Table::Decisions,
    "account,plan_id,namespace,action,current_trus,wanted_trus,reason_code,reason,price_before_micro_dollars,\
     price_after_micro_dollars,known_minutes\na,p7,n,Keep,,,idle,none,,,\n",
    "line 2: the evaluation p7 of a does not exist"
)]
#[case::open_quote(
    Table::PolicyState,
    "account,namespace,policy,version,minute,state\na,n,p,1,7,\"{\n",
    "line 2: it is truncated"
)]
#[case::only_taken_out(
    Table::History,
    "",
    "the history consists of evaluations, decisions and changes"
)]
#[tokio::test]
async fn what_cannot_be_imported_is_reported(#[case] table: Table, #[case] file: &str, #[case] told: &str) {
    opened!(Sqlite, "told", _place, ledger);
    let error = ledger.import(table, Format::Csv, file.as_bytes()).await;
    let error = error.expect_err("a bad line").to_string();
    assert!(error.starts_with(told), "{error}");
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn an_hour_and_its_minutes_are_never_both_imported(#[case] kind: Kind) {
    opened!(Sqlite, "before", _before, before);
    let minutes = [
        minute(1, vec![sample("pay", 7)]),
        minute(2, vec![sample("pay", 8)]),
    ];
    for it in &minutes {
        before.record_minute(ACCOUNT, it, at(9)).await.expect("recorded");
    }
    let of_minutes = exported(&before, Table::Minutes, Format::Csv).await;
    let (none, years) = (SignedDuration::ZERO, SignedDuration::from_hours(24 * 900));
    before.prune(at(120), none, years, years).await.expect("pruned");
    let of_hours = exported(&before, Table::Hours, Format::Csv).await;
    for (test, first, second) in [
        ("hours_first", Table::Hours, Table::Minutes),
        ("minutes_first", Table::Minutes, Table::Hours),
    ] {
        opened!(kind, test, _place, ledger);
        for (table, expects_rows) in [(first, true), (second, false)] {
            let file = if table == Table::Hours {
                &of_hours
            } else {
                &of_minutes
            };
            let new = ledger.import(table, Format::Csv, &file[..]).await.expect("read");
            assert_eq!(new > 0, expects_rows, "{table:?} after {first:?}");
        }
        ledger.prune(at(120), none, years, years).await.expect("pruned");
        let hours = ledger.hours(ACCOUNT, None).await.expect("readable");
        assert_eq!(
            (hours.len(), hours[0].known_minutes, hours[0].actions_sum),
            (1, 2, 15)
        );
    }
}
