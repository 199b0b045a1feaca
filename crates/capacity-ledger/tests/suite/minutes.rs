//! Tests of the ledger's guarantees for minutes, hours and the request budget, on either database.

use capacity_ledger::{Claim, ErrorKind, Ledger, Minute, NamespaceMinute, Recorded};
use jiff::SignedDuration;
use rstest::rstest;

use crate::places::Kind::{self, Postgres, Sqlite};
use crate::places::{ACCOUNT, at, downgrade, minute, opened, policy_state, sample};

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn minutes_recorded_in_any_order_are_read_back_unchanged_and_once(#[case] kind: Kind) {
    opened!(kind, "minutes", _place, ledger);
    let now = at(10);
    for number in [3, 1, 2] {
        let it = minute(number, vec![sample("pay", 7), sample("orders", 0)]);
        assert_eq!(
            ledger.record_minute(ACCOUNT, &it, now).await,
            Recorded::Written.into_ok()
        );
    }
    let again = minute(2, vec![sample("pay", 999)]);
    assert_eq!(
        ledger.record_minute(ACCOUNT, &again, now).await,
        Recorded::AlreadyThere.into_ok()
    );
    let window = ledger.window(ACCOUNT, at(1), at(3)).await.expect("readable");
    let mut expected = minute(1, vec![sample("pay", 7), sample("orders", 0)]);
    assert_eq!(
        window.iter().map(|it| it.minute).collect::<Vec<_>>(),
        [at(1), at(2)]
    );
    let mut found = window[0].clone();
    for it in [&mut expected, &mut found] {
        it.samples
            .sort_by(|one, other| one.namespace.cmp(&other.namespace));
    }
    assert_eq!(found, expected);
    assert_eq!(ledger.window("other", at(0), at(9)).await.expect("readable"), []);
}

/// A namespace that lags is added to the minute later. Fully read data replaces partly read data, never the
/// reverse.
#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn a_minute_gains_what_it_lacks_and_loses_nothing(#[case] kind: Kind) {
    opened!(kind, "gains", _place, ledger);
    let now = at(9);
    let part = |mut sample: NamespaceMinute, unread: [bool; 3]| {
        sample.unread = unread;
        sample
    };
    let first = minute(1, vec![part(sample("pay", 7), [false, true, true])]);
    let whole = part(sample("pay", 8), [false; 3]);
    let late = Minute {
        complete: false,
        ..minute(1, vec![whole.clone(), sample("orders", 3)])
    };
    for (given, expected) in [
        (&first, Recorded::Written),
        (&late, Recorded::Completed),
        (&first, Recorded::AlreadyThere),
        (&late, Recorded::AlreadyThere),
    ] {
        assert_eq!(
            ledger.record_minute(ACCOUNT, given, now).await.expect("written"),
            expected
        );
    }
    let window = ledger.window(ACCOUNT, at(1), at(2)).await.expect("readable");
    assert!(window[0].complete && window[0].samples.len() == 2);
    assert!(window[0].samples.contains(&whole), "{window:?}");
}

trait IntoOk: Sized {
    fn into_ok(self) -> TestResult<Self> {
        TestResult(Ok(self))
    }
}

impl IntoOk for Recorded {}

/// Compares a result whose error has no equality.
#[derive(Debug)]
struct TestResult<T>(Result<T, String>);

impl<T: PartialEq> PartialEq<TestResult<T>> for Result<T, capacity_ledger::LedgerError> {
    fn eq(&self, other: &TestResult<T>) -> bool {
        matches!((self, &other.0), (Ok(one), Ok(other)) if one == other)
    }
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn a_complete_minute_replaces_an_incomplete_one_and_never_the_reverse(#[case] kind: Kind) {
    opened!(kind, "complete", _place, ledger);
    let missing = Minute {
        complete: false,
        ..minute(1, Vec::new())
    };
    let whole = minute(1, vec![sample("pay", 7), sample("pay", 9)]);
    assert_eq!(
        ledger.record_minute(ACCOUNT, &missing, at(2)).await,
        Recorded::Written.into_ok()
    );
    assert_eq!(
        ledger.record_minute(ACCOUNT, &whole, at(2)).await,
        Recorded::Completed.into_ok()
    );
    assert_eq!(
        ledger.record_minute(ACCOUNT, &missing, at(2)).await,
        Recorded::AlreadyThere.into_ok()
    );
    let window = ledger.window(ACCOUNT, at(0), at(5)).await.expect("readable");
    // Present twice, counted once, with the higher usage.
    assert_eq!(window[0].samples, [sample("pay", 9)]);
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn two_writers_write_each_minute_once_and_share_one_budget(#[case] kind: Kind) {
    opened!(kind, "writers", place, one);
    let other = Ledger::open(&place.location).await.expect("opened");
    let mut written = 0;
    for number in 0..10 {
        let it = minute(
            number,
            vec![sample("pay", 7), sample(&format!("new-{number}"), 1)],
        );
        let (first, second) = tokio::join!(
            one.record_minute(ACCOUNT, &it, at(20)),
            other.record_minute(ACCOUNT, &it, at(20))
        );
        for it in [first, second] {
            written += usize::from(it.expect("recorded") == Recorded::Written);
        }
    }
    assert_eq!(written, 10);
    let claims = (0..40).map(|number| {
        let ledger = if number % 2 == 0 { &one } else { &other };
        ledger.claim_requests(ACCOUNT, at(number), 2, 55)
    });
    let claims = futures::future::join_all(claims).await;
    let granted = claims
        .iter()
        .filter(|it| matches!(it, Ok(Claim::Granted)))
        .count();
    assert_eq!(granted, 27, "{claims:?}");
    // An hour after the first one, they are available again.
    let free = one
        .claim_requests(ACCOUNT, at(200), 2, 55)
        .await
        .expect("claimed");
    assert_eq!(free, Claim::Granted);
    let Claim::Refused { until } = one
        .claim_requests(ACCOUNT, at(200), 54, 55)
        .await
        .expect("answered")
    else {
        panic!("over the budget");
    };
    assert_eq!(until, at(260));
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn requests_become_available_an_hour_after_they_were_made(#[case] kind: Kind) {
    opened!(kind, "available", place, ledger);
    for minute in 0..20 {
        let claim = ledger.claim_requests(ACCOUNT, at(minute), 2, 55).await;
        assert_eq!(claim.expect("claimed"), Claim::Granted);
    }
    let available = async |minute, ahead| {
        let ahead = SignedDuration::from_mins(ahead);
        let read = ledger.requests_available(ACCOUNT, at(minute), ahead, 55).await;
        read.expect("read")
    };
    assert_eq!(available(20, 0).await, 15);
    assert_eq!(available(60, 0).await, 17, "the first two are an hour old");
    assert_eq!(available(60, 10).await, 37);
    assert_eq!(available(200, 0).await, 55);
    let over = ledger
        .requests_available(ACCOUNT, at(20), SignedDuration::ZERO, 30)
        .await;
    assert_eq!(over.expect("read"), 0, "a budget that was lowered");
}

/// The earlier release can be started again, because it only rejects higher versions.
#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn a_ledger_of_the_earlier_release_is_extended_and_keeps_its_version(#[case] kind: Kind) {
    opened!(kind, "extended", place, ledger);
    let it = minute(1, vec![sample("pay", 7)]);
    ledger.record_minute(ACCOUNT, &it, at(9)).await.expect("recorded");
    ledger.close().await;
    downgrade(&place.location).await;
    for _ in 0..2 {
        let (one, other) = tokio::join!(Ledger::open(&place.location), Ledger::open(&place.location));
        let (one, other) = (one.expect("opened"), other.expect("opened at the same time"));
        let state = [policy_state("pay", 1, "state")];
        one.store_policy_states(&state).await.expect("stored");
        assert_eq!(
            other
                .policy_states(ACCOUNT, "break-even")
                .await
                .expect("readable"),
            state
        );
        assert_eq!(
            one.window(ACCOUNT, at(0), at(9)).await.expect("readable"),
            std::slice::from_ref(&it)
        );
        assert_eq!(one.info().await.expect("readable").schema_version, 2);
        one.close().await;
        other.close().await;
    }
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn minutes_are_aggregated_into_permanent_hours_and_nothing_counts_twice(#[case] kind: Kind) {
    opened!(kind, "folds", _place, ledger);
    let hour = at(0).as_second().div_euclid(3_600);
    let begin = hour * 60 - at(0).as_second().div_euclid(60);
    for number in begin..begin + 120 {
        let it = minute(number, vec![sample("pay", 10)]);
        ledger
            .record_minute(ACCOUNT, &it, at(200))
            .await
            .expect("recorded");
    }
    let keep = SignedDuration::from_mins(30);
    let year = SignedDuration::from_hours(24 * 365);
    let pruned = ledger
        .prune(at(begin + 95), keep, year, year)
        .await
        .expect("pruned");
    assert_eq!(pruned.minutes, 60);
    let again = ledger
        .prune(at(begin + 95), keep, year, year)
        .await
        .expect("pruned");
    assert_eq!((again.minutes, again.hours), (0, 0));
    let hours = ledger.hours(ACCOUNT, Some("pay.a1b2c")).await.expect("readable");
    assert_eq!(
        (hours.len(), hours[0].known_minutes, hours[0].actions_sum),
        (1, 60, 600)
    );
    assert_eq!((hours[0].throttled_minutes, hours[0].operations_highest), (60, 1));
    let late = minute(begin + 5, vec![sample("pay", 10)]);
    assert_eq!(
        ledger.record_minute(ACCOUNT, &late, at(200)).await,
        Recorded::TooOld.into_ok()
    );
    let dropped = ledger
        .prune(at(begin + 95), keep, SignedDuration::from_mins(1), year)
        .await
        .expect("pruned");
    assert_eq!(dropped.hours, 1);
    assert_eq!(ledger.verify().await.expect("readable"), Vec::<String>::new());
    assert_eq!(ledger.info().await.expect("readable").rows["minutes"], 60);
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn a_minute_in_the_future_is_refused(#[case] kind: Kind) {
    opened!(kind, "future", _place, ledger);
    let error = ledger
        .record_minute(ACCOUNT, &minute(9, Vec::new()), at(1))
        .await
        .expect_err("in the future");
    assert_eq!(error.kind(), ErrorKind::Input);
}
