//! Tests of the schedule: updates are idempotent and keep a user's pause, and the result of its tick stays
//! readable.

use std::time::Duration;

use capacity_workflows::schedule::{CreateOutcome, Schedule, ScheduleError, ScheduleOptions, TicksSince};
use capacity_workflows::{EvaluationTick, Installation, Lenient};
use cloud_simulator::{Account, Load, NamespaceSetup};

use jiff::{SignedDuration, Timestamp};
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{WorkflowStartOptions, WorkflowTerminateOptions};
use temporalio_common::protos::temporal::api::workflowservice::v1::ListScheduleMatchingTimesRequest;

use crate::harness::{Setup, TASK_QUEUE, World, with_worker};

fn setup() -> Setup {
    let account = Account::new(
        "a1b2c",
        vec![NamespaceSetup::new("checkout", Load::Steady(560.0))],
    );
    Setup {
        account,
        ..Setup::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creating_is_idempotent_and_keeps_a_manual_pause() {
    with_worker("schedule", setup(), async |world| {
        let client = &world.client;
        assert!(matches!(
            Schedule::new(client, &Installation::default()).show().await,
            Err(ScheduleError::Missing)
        ));
        let hourly = ScheduleOptions::hourly();
        assert_eq!(
            Schedule::new(client, &Installation::default())
                .create(&hourly)
                .await
                .expect("created"),
            CreateOutcome::Created
        );
        let shown = Schedule::new(client, &Installation::default())
            .show()
            .await
            .expect("there");
        assert_eq!(
            (shown.paused, &shown.minutes, shown.next.len()),
            (false, &vec![45], 5)
        );
        assert!(
            shown
                .next
                .iter()
                .all(|run| run.as_second().rem_euclid(3_600) == 45 * 60),
            "{:?}",
            shown.next
        );

        Schedule::new(client, &Installation::default())
            .pause("maintenance by Kim")
            .await
            .expect("paused");
        let wanted = hourly.with_minutes([15, 45]).with_time_zone("Asia/Kolkata");
        assert_eq!(
            Schedule::new(client, &Installation::default())
                .create(&wanted)
                .await
                .expect("updated"),
            CreateOutcome::Updated
        );
        let shown = Schedule::new(client, &Installation::default())
            .show()
            .await
            .expect("there");
        assert_eq!((shown.paused, shown.note.as_str()), (true, "maintenance by Kim"));
        assert_eq!((shown.minutes, shown.time_zone.as_str()), (vec![15, 45], "UTC"));
        assert_eq!(
            Schedule::new(client, &Installation::default())
                .create(&wanted)
                .await
                .expect("the same again"),
            CreateOutcome::Updated
        );

        Schedule::new(client, &Installation::default())
            .resume("done")
            .await
            .expect("resumed");
        assert!(
            !Schedule::new(client, &Installation::default())
                .show()
                .await
                .expect("there")
                .paused
        );
        Schedule::new(client, &Installation::default())
            .delete()
            .await
            .expect("deleted");
        assert!(matches!(
            Schedule::new(client, &Installation::default()).delete().await,
            Err(ScheduleError::Missing)
        ));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_triggered_run_evaluates_and_its_result_stays_readable() {
    with_worker("triggered", setup(), async |world| {
        Schedule::new(&world.client, &world.installation)
            .create(&ScheduleOptions::hourly())
            .await
            .expect("created");
        Schedule::new(&world.client, &Installation::default())
            .trigger()
            .await
            .expect("triggered");
        let is_carried_out = async || {
            let schedule = Schedule::new(&world.client, &Installation::default());
            let ticks = schedule.last_ticks(Duration::from_secs(5)).await;
            ticks.is_ok_and(|ticks| {
                ticks
                    .iter()
                    .any(|tick| tick.contains("1 of 1 changes carried out"))
            })
        };
        world
            .until("carried out", Duration::from_mins(2), is_carried_out)
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_were_skipped_or_failed_are_counted_since_a_time() {
    with_worker("ticks-since", setup(), async |world| {
        Schedule::new(&world.client, &world.installation)
            .create(&ScheduleOptions::hourly())
            .await
            .expect("created");
        let shown = Schedule::new(&world.client, &world.installation)
            .show()
            .await
            .expect("shown");
        let now = Timestamp::now();
        let three_hours_ago = now - SignedDuration::from_hours(3);
        let counted = async || {
            Schedule::new(&world.client, &world.installation)
                .ticks_since(&shown, three_hours_ago, now)
                .await
                .expect("counted")
        };
        assert_eq!(
            counted().await,
            TicksSince {
                skipped: 3,
                failed: 0
            }
        );
        let options = WorkflowStartOptions::new(TASK_QUEUE, "capacity-evaluation-by-hand").build();
        let tick = world
            .client
            .start_workflow(EvaluationTick::run, Lenient::default(), options)
            .await
            .expect("started");
        tick.terminate(WorkflowTerminateOptions::default())
            .await
            .expect("terminated");
        world
            .until("counted", Duration::from_mins(1), async || {
                counted().await
                    == TicksSince {
                        skipped: 2,
                        failed: 1,
                    }
            })
            .await;
    })
    .await;
}

/// Returns the runs that the server plans between two times, as minutes since the first.
async fn planned(world: &World, from: &str, to: &str) -> Vec<i64> {
    let at = |text: &str| text.parse::<Timestamp>().expect("a time");
    let stamp = |time: Timestamp| std::time::SystemTime::try_from(time).expect("in range").into();
    let request = ListScheduleMatchingTimesRequest {
        namespace: world.client.options().namespace.clone(),
        schedule_id: world.installation.schedule_id(),
        start_time: Some(stamp(at(from))),
        end_time: Some(stamp(at(to))),
    };
    let mut client = world.client.clone();
    let answer = WorkflowService::list_schedule_matching_times(&mut client, request.into_request());
    let times = answer.await.expect("a response").into_inner().start_time;
    let begin = at(from).as_second();
    times.iter().map(|time| (time.seconds - begin) / 60).collect()
}

/// In Berlin, clocks go back on October 25, 2026 at 01:00 UTC, and forward on March 28, 2027 at 01:00 UTC.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_hour_is_lost_or_doubled_when_clocks_change() {
    with_worker("dst", setup(), async |world| {
        let berlin = ScheduleOptions::hourly().with_time_zone("Europe/Berlin");
        Schedule::new(&world.client, &world.installation)
            .create(&berlin)
            .await
            .expect("created");
        for night in ["2026-10-24", "2027-03-27"] {
            let from: Timestamp = format!("{night}T20:00:00Z").parse().expect("a time");
            let to = from + SignedDuration::from_hours(10);
            let every_hour: Vec<i64> = (0..10).map(|hour| hour * 60 + 45).collect();
            assert_eq!(
                planned(world, &from.to_string(), &to.to_string()).await,
                every_hour,
                "{night}"
            );
        }
        // Hours are in the time zone of the schedule. Each one occurs once per day, even on those nights.
        let business = berlin.clone().with_hours(8..=17);
        Schedule::new(&world.client, &world.installation)
            .create(&business)
            .await
            .expect("updated");
        assert_eq!(
            planned(world, "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z")
                .await
                .len(),
            10
        );
        let night = berlin.with_hours([1, 2, 3]);
        Schedule::new(&world.client, &world.installation)
            .create(&night)
            .await
            .expect("updated");
        // The schedule runs once in the repeated hour, and not at all for the skipped hour.
        let back = planned(world, "2026-10-24T22:00:00Z", "2026-10-25T06:00:00Z").await;
        assert_eq!(back, [105, 165, 285]);
        let forward = planned(world, "2027-03-27T22:00:00Z", "2027-03-28T06:00:00Z").await;
        assert_eq!(forward, [165, 225]);
    })
    .await;
}
