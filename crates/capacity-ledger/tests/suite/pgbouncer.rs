//! A ledger behind a real `PgBouncer`, found on the system, or downloaded from Debian's packages and unpacked.
//! It stops with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use capacity_ledger::{Claim, ErrorKind, Format, HistoryFilter, Ledger, Location, Recorded, Table};
use jiff::SignedDuration;
use rstest::rstest;

use crate::places::{ACCOUNT, at, change, decision, evaluation, minute, policy_state, sample};
use crate::postgres::{GUARDIAN, free_port, hand_over, new_database, unprivileged};

const FETCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/stack/fetch-pgbouncer");

static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// A pooler in front of a database. Its guardian stops it when this is dropped.
struct Pooler {
    /// The address without the name of a database.
    address: String,
    guardian: Child,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.guardian.stdin.take());
        let _ = self.guardian.wait();
    }
}

impl Pooler {
    /// Starts a pooler; `None` if these tests are skipped.
    fn start(test: &str, mode: &str, servers: u8) -> Option<(Self, String)> {
        let url = new_database(test)?;
        let program = PROGRAM.get_or_init(program).as_ref();
        let program = program.unwrap_or_else(|problem| panic!("{problem}; install pgbouncer"));
        let (_, place) = url.rsplit_once('@').expect("an address");
        let (database, name) = place.split_once('/').expect("a database");
        let (host, database_port) = database.split_once(':').expect("a port");
        let port = free_port().expect("a port");
        let folder = std::env::temp_dir().join(format!("capacity-ledger-pgbouncer-{port}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        let settings = folder.join("pgbouncer.ini");
        let users = folder.join("users.txt");
        std::fs::write(&users, "\"ledger\" \"\"\n").expect("written");
        let ini = format!(
            "[databases]\n{name} = host={host} port={database_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\ndefault_pool_size = {servers}\n",
            users.display()
        );
        std::fs::write(&settings, ini).expect("written");
        hand_over(&folder).expect("handed over");
        let mut guardian = Command::new("sh");
        guardian.args(["-c", GUARDIAN, "sh"]);
        if let Some(user) = unprivileged() {
            guardian.args(["setpriv", "--reuid", user, "--regid", "nogroup", "--clear-groups"]);
        }
        let guardian = guardian
            .arg(program)
            .arg(&settings)
            .current_dir(&folder)
            .env("GUARDED_FOLDER", &folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                begun.elapsed() < Duration::from_mins(1),
                "PgBouncer did not come up"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        let address = format!("postgres://ledger:unused@127.0.0.1:{port}");
        Some((Self { address, guardian }, name.to_owned()))
    }

    async fn open(&self, name: &str) -> Result<Ledger, capacity_ledger::LedgerError> {
        let location = Location::parse(&format!("{}/{name}", self.address)).expect("a location");
        Ledger::open(&location).await
    }
}

fn program() -> Result<PathBuf, String> {
    let installed = [
        "/usr/sbin/pgbouncer",
        "/usr/bin/pgbouncer",
        "/usr/local/bin/pgbouncer",
    ];
    if let Some(found) = installed.iter().map(Path::new).find(|it| it.is_file()) {
        return Ok(found.to_path_buf());
    }
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pgbouncer");
    let launcher = cache.join("pgbouncer");
    if !launcher.is_file() {
        std::fs::create_dir_all(&cache).map_err(|error| error.to_string())?;
        let fetched = Command::new(FETCH).current_dir(&cache).output();
        let fetched = fetched.map_err(|error| error.to_string())?;
        if !launcher.is_file() {
            return Err(format!(
                "PgBouncer could not be fetched: {}",
                String::from_utf8_lossy(&fetched.stderr)
            ));
        }
    }
    Ok(launcher)
}

/// Everything that a worker and the commands do, with more client connections than server connections.
#[rstest]
#[case::session("session", 20)]
#[case::transaction("transaction", 2)]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_ledger_works_behind_pgbouncer(#[case] mode: &str, #[case] servers: u8) {
    let Some((pooler, name)) = Pooler::start(&format!("pgbouncer_{mode}"), mode, servers) else {
        return;
    };
    let work = async {
        let (one, other) = tokio::join!(pooler.open(&name), pooler.open(&name));
        let ledgers = [one.expect("opened"), other.expect("opened at the same time")];
        let minutes = (0..40).map(|number| {
            let ledger = ledgers[usize::from(number % 2 == 0)].clone();
            tokio::spawn(async move {
                let it = minute(
                    number,
                    vec![sample("pay", 7), sample(&format!("new-{number}"), 1)],
                );
                let recorded = ledger.record_minute(ACCOUNT, &it, at(50)).await;
                assert_eq!(recorded.expect("recorded"), Recorded::Written);
                let plan = format!("p{number}");
                let decisions = [decision(&plan, "pay.a1b2c", "Disable")];
                let evaluation = evaluation(&plan, number, false);
                ledger
                    .record_evaluation(&evaluation, &decisions)
                    .await
                    .expect("recorded");
                let changes = [change(&plan, "pay.a1b2c", "changed")];
                ledger.record_changes(&changes).await.expect("recorded");
                let states = [policy_state("pay.a1b2c", number, &plan)];
                ledger.store_policy_states(&states).await.expect("stored");
                let claim = ledger.claim_requests(ACCOUNT, at(number), 1, 100).await;
                assert_eq!(claim.expect("claimed"), Claim::Granted);
                assert!(
                    !ledger
                        .window(ACCOUNT, at(0), at(50))
                        .await
                        .expect("readable")
                        .is_empty()
                );
            })
        });
        for worked in futures::future::join_all(minutes).await {
            worked.expect("worked");
        }
        let [ledger, other] = &ledgers;
        let history = ledger
            .history(Some(ACCOUNT), &HistoryFilter::default())
            .await
            .expect("readable");
        assert_eq!(history.iter().filter(|row| row.outcome.is_some()).count(), 40);
        let states = other
            .policy_states(ACCOUNT, "break-even")
            .await
            .expect("readable");
        assert_eq!(states, [policy_state("pay.a1b2c", 39, "p39")]);
        assert_eq!(other.verify().await.expect("readable"), Vec::<String>::new());
        let mut file = Vec::new();
        let lines = ledger
            .export(Table::Minutes, Format::Csv, &mut file)
            .await
            .expect("exported");
        assert_eq!(lines, 80);
        let (minute, year) = (SignedDuration::from_mins(1), SignedDuration::from_hours(9_000));
        assert_eq!(
            other
                .prune(at(300), minute, year, year)
                .await
                .expect("pruned")
                .minutes,
            40
        );
        assert_eq!(ledger.info().await.expect("readable").rows["minutes"], 0);
    };
    tokio::time::timeout(Duration::from_mins(1), work)
        .await
        .expect("within a minute");
}

#[tokio::test]
async fn the_message_of_a_pooler_is_shown_unchanged() {
    let Some((pooler, _)) = Pooler::start("pgbouncer_refuses", "transaction", 2) else {
        return;
    };
    let error = pooler.open("unknown").await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("no such database: unknown"), "{error}");
    assert!(!error.to_string().contains("unused"), "the password: {error}");
}
