//! Tests with a PostgreSQL that becomes unavailable and recovers.

#[path = "../../crates/capacity-ledger/tests/suite/postgres.rs"]
mod server;

use std::net::SocketAddr;

use capacity_autopilot::{LedgerHandle, Sampler, Scope};
use capacity_ledger::Location;
use cloud_simulator::SimulatorOptions;
use jiff::SignedDuration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::harness::{self, options, outcomes};
use crate::memory::{strict, three};

/// A proxy in front of a database. While it is cut, open connections are closed and new ones are rejected.
struct Cable {
    address: SocketAddr,
    plugged: watch::Sender<bool>,
}

impl Cable {
    async fn to(database: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let plugged = watch::Sender::new(true);
        let watched = plugged.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (database, mut watched) = (database.clone(), watched.clone());
                tokio::spawn(carry(near, database, async move {
                    let _ = watched.wait_for(|plugged| !plugged).await;
                }));
            }
        });
        Self { address, plugged }
    }
}

async fn carry(mut near: TcpStream, database: String, cut: impl Future<Output = ()>) {
    let carried = async {
        if let Ok(mut far) = TcpStream::connect(database).await {
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        }
    };
    tokio::select! {
        () = carried => {}
        () = cut => {}
    }
}

#[tokio::test]
async fn a_postgresql_outage_stops_scaling_down_until_it_is_over() {
    let Some(url) = server::new_database("flows_cut") else {
        return;
    };
    let (credentials, place) = url.rsplit_once('@').expect("an address");
    let (database, name) = place.split_once('/').expect("a name");
    let cable = Cable::to(database.to_owned()).await;
    let location = Location::parse(&format!("{credentials}@{}/{name}", cable.address)).expect("a location");
    let cloud = cloud_simulator::start(SimulatorOptions {
        speed: 0.0,
        ..options(three())
    })
    .await
    .expect("started");
    let autopilot = harness::autopilot(&cloud, strict()).with_ledger(LedgerHandle::at(location));
    let evaluate = async || outcomes(&autopilot.evaluate(&Scope::All).await.expect("evaluated"));
    let mut sampler = Sampler::new(&autopilot);
    for _ in 0..55 {
        cloud.advance(SignedDuration::from_mins(1));
        assert_eq!(sampler.round().await.problem, None);
    }
    assert_eq!(evaluate().await[2], "orders: Disable idle");

    cable.plugged.send_replace(false);
    cloud.advance(SignedDuration::from_mins(1));
    let round = sampler.round().await;
    assert!(
        !round.recorded && round.minute.is_some(),
        "throttling is still seen: {round:?}"
    );
    let cut = evaluate().await;
    assert_eq!(cut[0], "checkout: Enable 6 TRUs throttled");
    assert_eq!(cut[2], "orders: Hold estimate_only");

    cable.plugged.send_replace(true);
    cloud.advance(SignedDuration::from_mins(1));
    assert!(sampler.round().await.recorded);
    assert_eq!(evaluate().await[2], "orders: Disable idle");
}
