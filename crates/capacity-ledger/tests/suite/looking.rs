//! Tests of read-only commands: they create and change nothing, and read access is sufficient.

use capacity_ledger::{ErrorKind, Format, HistoryFilter, Ledger, Location, Table};
use rstest::rstest;
use secrecy::ExposeSecret;

use crate::places::Kind::{self, Postgres, Sqlite};
use crate::places::{
    ACCOUNT, at, change, decision, downgrade, evaluation, execute, inputs, minute, opened, place,
    policy_state, sample,
};

const TABLES: [Table; 8] = [
    Table::Minutes,
    Table::Hours,
    Table::Evaluations,
    Table::Decisions,
    Table::Changes,
    Table::PolicyState,
    Table::PolicyDecisions,
    Table::History,
];

async fn fill(ledger: &Ledger) {
    let it = minute(1, vec![sample("pay", 7)]);
    ledger.record_minute(ACCOUNT, &it, at(9)).await.expect("recorded");
    let decisions = [decision("p1", "pay.a1b2c", "Disable")];
    ledger
        .record_evaluation(&evaluation("p1", 1, false), &decisions)
        .await
        .expect("recorded");
    let changes = [change("p1", "pay.a1b2c", "changed")];
    ledger.record_changes(&changes).await.expect("recorded");
    let states = [policy_state("pay.a1b2c", 1, "{}")];
    ledger.store_policy_states(&states).await.expect("stored");
}

/// Everything that `info`, `verify`, `export` and `history` read.
async fn look(ledger: &Ledger) -> Vec<String> {
    assert_eq!(ledger.info().await.expect("readable").rows["minutes"], 1);
    assert_eq!(ledger.verify().await.expect("readable"), Vec::<String>::new());
    let history = ledger.history(None, &HistoryFilter::default()).await;
    assert_eq!(history.expect("readable")[0].outcome.as_deref(), Some("changed"));
    assert_eq!(
        ledger.decided_namespaces().await.expect("readable"),
        ["pay.a1b2c"]
    );
    let mut files = Vec::new();
    for table in TABLES {
        let mut file = Vec::new();
        ledger
            .export(table, Format::Csv, &mut file)
            .await
            .expect("exported");
        files.push(String::from_utf8(file).expect("text"));
    }
    files
}

/// Returns the location of the same database for another role.
fn as_role(location: &Location, role: &str) -> Location {
    let Location::Postgres(url) = location else {
        panic!("roles are PostgreSQL's");
    };
    let url = url
        .expose_secret()
        .replace("ledger:unused@", &format!("{role}:unused@"));
    Location::parse(&url).expect("a location")
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn read_only_commands_refuse_a_missing_ledger_and_do_not_create_one(#[case] kind: Kind) {
    let Some(place) = place(kind, "nothing") else {
        return;
    };
    let location = &place.location;
    for _ in 0..2 {
        for opened in [
            Ledger::open_read_only(location).await,
            Ledger::open_existing(location).await,
        ] {
            let error = opened.expect_err("there is none");
            assert_eq!(error.kind(), ErrorKind::Missing, "{error}");
            assert!(error.to_string().contains("there is no ledger at"), "{error}");
        }
    }
    if let Location::Sqlite(path) = location {
        assert!(!path.exists() && !path.parent().expect("a folder").exists());
        // A file that is not a ledger.
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, "").expect("written");
        let error = Ledger::open_read_only(location).await.expect_err("there is none");
        assert_eq!(error.kind(), ErrorKind::Missing, "{error}");
        assert_eq!(path.metadata().expect("there").len(), 0);
        let folder = Location::Sqlite(path.parent().expect("a folder").to_path_buf());
        let error = Ledger::open(&folder).await.expect_err("a folder");
        assert_eq!(error.kind(), ErrorKind::Location, "{error}");
    }
}

#[tokio::test]
async fn a_role_with_only_select_and_a_read_only_database_are_enough_to_read() {
    opened!(Postgres, "select", place, ledger);
    fill(&ledger).await;
    let everything = look(&ledger).await;
    execute(
        &place.location,
        "DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader; \
         ALTER ROLE reader SET default_transaction_read_only = on",
    )
    .await;
    let reader = as_role(&place.location, "reader");
    let looking = Ledger::open_read_only(&reader).await.expect("opened");
    assert_eq!(look(&looking).await, everything);
    let it = minute(2, vec![sample("pay", 7)]);
    let error = looking
        .record_minute(ACCOUNT, &it, at(9))
        .await
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");

    // Like a replica: everyone can read, and only this role has no permissions.
    execute(
        &place.location,
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$",
    )
    .await;
    let replica = Ledger::open_read_only(&place.location).await.expect("opened");
    assert_eq!(look(&replica).await, everything);
    execute(
        &place.location,
        "SET TRANSACTION READ WRITE; REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM reader",
    )
    .await;
    let error = Ledger::open_read_only(&reader).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
    assert!(error.to_string().contains("grant SELECT"), "{error}");
    execute(
        &place.location,
        "SET TRANSACTION READ WRITE; DROP OWNED BY reader; DROP ROLE reader",
    )
    .await;
}

/// The tables were created by someone else.
#[tokio::test]
async fn a_worker_needs_no_permission_to_create_tables() {
    opened!(Postgres, "worker_role", place, ledger);
    drop(ledger);
    execute(
        &place.location,
        "DROP ROLE IF EXISTS writer; CREATE ROLE writer LOGIN; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO writer",
    )
    .await;
    let writer = Ledger::open(&as_role(&place.location, "writer"))
        .await
        .expect("opened");
    fill(&writer).await;
    look(&writer).await;
    writer.close().await;
    execute(&place.location, "DROP OWNED BY writer; DROP ROLE writer").await;
}

/// An upgrade adds a table. The worker's role is not allowed to create it, and the reader's permissions predate it.
#[tokio::test]
async fn roles_keep_working_with_the_permissions_from_before_an_upgrade() {
    opened!(Postgres, "upgraded_roles", place, ledger);
    fill(&ledger).await;
    ledger.close().await;
    execute(
        &place.location,
        "DROP TABLE capacity_decision_blocks; DROP TABLE capacity_decision_inputs; UPDATE capacity_additions SET number = 2; \
         DROP ROLE IF EXISTS upgraded; CREATE ROLE upgraded LOGIN; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO upgraded",
    )
    .await;
    let role = as_role(&place.location, "upgraded");
    let inputs = [inputs("p1", "pay.a1b2c")];
    let check = async |opened: Ledger| {
        look(&opened).await;
        // As a row, because it must not be part of a block.
        let decisions = [decision("p2", "pay.a1b2c", "Keep")];
        opened
            .record_evaluation(&evaluation("p2", 2, false), &decisions)
            .await
            .expect("recorded");
        let history = opened.history(None, &HistoryFilter::default()).await;
        assert_eq!(history.expect("readable").len(), 2);
        opened.record_decision_inputs(&inputs).await.expect("left out");
        let kept = opened.decision_inputs(ACCOUNT, "p1", "pay.a1b2c").await;
        assert_eq!(kept.expect("readable"), []);
        assert!(
            !opened
                .info()
                .await
                .expect("readable")
                .rows
                .contains_key("decision_inputs")
        );
        opened.close().await;
    };
    check(Ledger::open(&role).await.expect("opened without the table")).await;
    let owner = Ledger::open(&place.location).await.expect("opened");
    owner.record_decision_inputs(&inputs).await.expect("recorded");
    owner.close().await;
    check(
        Ledger::open(&role)
            .await
            .expect("opened without a right on the table"),
    )
    .await;
    execute(&place.location, "DROP OWNED BY upgraded; DROP ROLE upgraded").await;
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn a_ledger_of_an_earlier_release_can_be_read_without_upgrading_it(#[case] kind: Kind) {
    opened!(kind, "earlier", place, ledger);
    fill(&ledger).await;
    ledger.close().await;
    downgrade(&place.location).await;
    let looking = Ledger::open_read_only(&place.location).await.expect("opened");
    let files = look(&looking).await;
    assert_eq!(files[5], "account,namespace,policy,version,minute,state\n");
    let states = looking.policy_states(ACCOUNT, "break-even").await;
    assert_eq!(states.expect("readable"), []);
    looking.close().await;
    execute(&place.location, "SELECT state FROM capacity_policy_state").await;
    execute(&place.location, "UPDATE capacity_ledger SET version = 1").await;
    let error = Ledger::open_read_only(&place.location)
        .await
        .expect_err("too old");
    assert_eq!(error.kind(), ErrorKind::Older, "{error}");
}

#[tokio::test]
async fn an_empty_table_is_exported_with_its_header() {
    opened!(Sqlite, "header", _full, full);
    opened!(Sqlite, "empty", _empty, empty);
    fill(&full).await;
    for table in TABLES {
        let (mut header, mut file) = (Vec::new(), Vec::new());
        assert_eq!(
            empty
                .export(table, Format::Csv, &mut header)
                .await
                .expect("exported"),
            0
        );
        full.export(table, Format::Csv, &mut file)
            .await
            .expect("exported");
        let file = String::from_utf8(file).expect("text");
        let header = String::from_utf8(header).expect("text");
        assert_eq!(header.lines().count(), 1, "{table:?}: {header}");
        assert!(file.starts_with(&header), "{table:?}: {header}");
        if table != Table::History {
            let new = empty.import(table, Format::Csv, header.as_bytes()).await;
            assert_eq!(new.expect("imported"), 0, "{table:?}");
        }
        let mut file = Vec::new();
        empty
            .export(table, Format::JsonLines, &mut file)
            .await
            .expect("exported");
        assert_eq!(file, b"");
    }
}
