//! The schedule: idempotent, keeps a person's pause, and its tick's result stays readable.

use std::time::Duration;

use capacity_workflows::{
    CreateOutcome, Installation, ScheduleError, ScheduleOptions, create, delete, last_ticks, pause, resume,
    show, trigger,
};
use cloud_simulator::{Account, Load, NamespaceSetup};

use crate::harness::{Setup, with_worker};

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
async fn creating_is_idempotent_and_keeps_a_persons_pause() {
    with_worker("schedule", setup(), async |world| {
        let client = &world.client;
        assert!(matches!(
            show(client, &Installation::default()).await,
            Err(ScheduleError::Missing)
        ));
        let hourly = ScheduleOptions::hourly(Installation::default());
        assert_eq!(
            create(client, &hourly).await.expect("created"),
            CreateOutcome::Created
        );
        let shown = show(client, &Installation::default()).await.expect("there");
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

        pause(client, &Installation::default(), "maintenance by Kim")
            .await
            .expect("paused");
        let wanted = ScheduleOptions {
            minutes: vec![15, 45],
            time_zone: "Asia/Kolkata".to_owned(),
            ..hourly
        };
        assert_eq!(
            create(client, &wanted).await.expect("updated"),
            CreateOutcome::Updated
        );
        let shown = show(client, &Installation::default()).await.expect("there");
        assert_eq!((shown.paused, shown.note.as_str()), (true, "maintenance by Kim"));
        assert_eq!((shown.minutes, shown.time_zone.as_str()), (vec![15, 45], "UTC"));
        assert_eq!(
            create(client, &wanted).await.expect("the same again"),
            CreateOutcome::Updated
        );

        resume(client, &Installation::default(), "done")
            .await
            .expect("resumed");
        assert!(
            !show(client, &Installation::default())
                .await
                .expect("there")
                .paused
        );
        delete(client, &Installation::default()).await.expect("deleted");
        assert!(matches!(
            delete(client, &Installation::default()).await,
            Err(ScheduleError::Missing)
        ));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_triggered_run_evaluates_and_its_result_stays_readable() {
    with_worker("triggered", setup(), async |world| {
        create(&world.client, &ScheduleOptions::hourly(Installation::default()))
            .await
            .expect("created");
        trigger(&world.client, &Installation::default())
            .await
            .expect("triggered");
        for _ in 0..200 {
            let ticks = last_ticks(
                &world.client,
                &Installation::default(),
                Duration::from_millis(500),
            )
            .await
            .expect("there");
            if ticks
                .iter()
                .any(|tick| tick.contains("1 of 1 changes carried out"))
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!(
            "{:?}",
            last_ticks(
                &world.client,
                &Installation::default(),
                Duration::from_millis(500)
            )
            .await
        );
    })
    .await;
}
