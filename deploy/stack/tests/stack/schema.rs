//! Tests of foreign databases and of partly set-up ones.

use std::time::Duration;

use temporal_stack::place::DATABASES;
use temporal_stack::process;

use crate::harness::{Running, healthy};

#[tokio::test]
#[ignore = "starts PostgreSQL and builds the server: .ci/full"]
async fn a_database_that_is_not_ours_or_half_set_up_is_recognized() {
    let running = Running::new("127.95", |text| text);
    running.up(&["--without-autopilot"]);
    running.run(&["down"]);
    // Only PostgreSQL, with the databases in the state of an interrupted set-up.
    running.up(&["--without-autopilot"]);
    for name in [
        "history-1",
        "matching-1",
        "frontend-1",
        "worker-1",
        "ui",
        "pgbouncer",
    ] {
        running.kill(name);
        assert!(process::ended(&running.place, name, Duration::from_mins(1)).await);
    }
    let (main, visibility) = (DATABASES[0], DATABASES[1]);
    running.sql("postgres", &format!("drop database {visibility} with (force)"));
    running.sql("postgres", &format!("create database {visibility}"));
    running.sql(visibility, "create table invoices (id int)");
    let said = running.refused(&["schema"]);
    assert!(said.contains("contains something else (invoices)"), "{said}");
    let said = running.up_refused(&[]);
    assert!(said.contains("contains something else (invoices)"), "{said}");
    running.sql(visibility, "drop table invoices");
    assert!(running.run(&["schema"]).contains("setting up schema 1.9"));
    // The two databases are mixed up.
    running.sql("postgres", &format!("drop database {main} with (force)"));
    running.sql(
        "postgres",
        &format!("create database {main} template {visibility}"),
    );
    let said = running.refused(&["schema"]);
    assert!(said.contains("are the two databases mixed up?"), "{said}");
    // An interrupted set-up: the version tables and a few others.
    running.sql("postgres", &format!("drop database {main} with (force)"));
    running.sql("postgres", &format!("create database {main}"));
    running.sql(
        main,
        "create table schema_version (version_partition int not null, db_name varchar(255) not null, creation_time timestamp, \
         curr_version varchar(64), min_compatible_version varchar(64), primary key (version_partition, db_name)); \
         create table schema_update_history (version_partition int not null, year int not null, month int not null, \
         update_time timestamp not null, description varchar(255), manifest_md5 varchar(64), new_version varchar(64), \
         old_version varchar(64), primary key (version_partition, year, month, update_time)); \
         create table namespace_metadata (partition_id integer not null, notification_version bigint not null, primary key (partition_id)); \
         create table namespaces (partition_id integer not null, id bytea not null, name varchar(255) unique not null, \
         notification_version bigint not null, data bytea not null, data_encoding varchar(16) not null, is_global boolean not null, \
         primary key (partition_id, id)); \
         insert into schema_version values (0, 'temporal', now(), '0.0', '0.0')",
    );
    assert!(
        running
            .run(&["schema"])
            .contains("half applied (version 0.0): continuing to 1.18")
    );
    running.up(&["--without-autopilot"]);
    healthy(&running);

    // A file that is not a certificate.
    let certificate = running.place.tls().join("internode.pem");
    std::fs::write(&certificate, "not a certificate").expect("written");
    let said = running.up_refused(&["--without-autopilot"]);
    assert!(
        said.contains("internode.pem contains no certificate")
            && said.contains("`temporal-stack certificates`"),
        "{said}"
    );
    running.run(&["certificates"]);
    running.up(&["--without-autopilot"]);
    healthy(&running);
}
