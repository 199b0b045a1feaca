//! Measures the size of a ledger with 14 days of minutes of 1,000 namespaces, most of them busy.
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::sync::Arc;

use capacity_ledger::{Ledger, Location, Minute, NamespaceMinute};
use jiff::Timestamp;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (namespaces, minutes) = (1_000_usize, 14 * 24 * 60_i64);
    let folder = tempfile::tempdir()?;
    let ledger = Ledger::open(&Location::Sqlite(folder.path().join("ledger.db"))).await?;
    let names: Vec<Arc<str>> = (0..namespaces)
        .map(|index| format!("team-{index:05}.a1b2c").into())
        .collect();
    for number in 0..minutes {
        let minute = Timestamp::from_second(1_790_000_040 + number * 60)?;
        let samples = names.iter().enumerate().map(|(index, name)| {
            // Four in five are busy, with rates to the millionth, like measured rates.
            let served = if index % 5 == 0 {
                [0; 3]
            } else {
                [1_u64, 2, 5].map(|per| fastrand::u64(0..400_000_000) * per)
            };
            NamespaceMinute {
                namespace: Arc::clone(name),
                unread: [false; 3],
                reported: index % 5 != 0,
                served,
                throttled: [
                    if index % 50 == 1 {
                        fastrand::u64(0..90_000_000)
                    } else {
                        0
                    },
                    0,
                    0,
                ],
                limits: [Some(500_000_000), Some(2_000_000_000), Some(4_000_000_000)],
                envelopes: [Some(500_000_000), Some(2_000_000_000), Some(4_000_000_000)],
            }
        });
        let it = Minute {
            minute,
            complete: true,
            source: "example".to_owned(),
            samples: samples.collect(),
        };
        ledger.record_minute("a1b2c", &it, minute).await?;
    }
    let info = ledger.info().await?;
    println!(
        "{namespaces} namespaces, {} minutes: {} MB",
        info.rows["minutes"],
        info.bytes / 1_000_000
    );
    Ok(())
}
