//! Tests of `history` and `ledger`, and of other commands that use the ledger.

mod account;
mod history;
mod places;
#[path = "../world/mod.rs"]
mod world;

use assert_cmd::assert::Assert;
use world::{errors, output, program};

/// A ledger for one test, without a cloud.
pub(crate) struct Book(pub(crate) tempfile::TempDir);

impl Book {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Assert {
        program(self.0.path())
            .args(arguments)
            .env("LEDGER_URL", "ledger.db")
            .write_stdin(input)
            .assert()
    }

    pub(crate) fn told(&self, arguments: &[&str]) -> String {
        output(&self.run(arguments, "").code(0))
    }
}

/// Records a dry-run resize, with a reason that contains every character that could end a table cell.
pub(crate) fn dry_run() -> Book {
    let book = Book::new();
    let evaluation = r#"{"account":"a1b2c","plan_id":"p1","evaluated_at_ms":1790000040000,"dry_run":true,"blind":false,"by":"worker-1","usage_window":"ledger","price_micro_dollars":50000000}"#;
    let decision = r#"{"account":"a1b2c","plan_id":"p1","namespace":"pay.a1b2c","action":"Resize","current_trus":2,"wanted_trus":4,"reason_code":"throttled","reason":"a | b,\nand \"c\"","price_before_micro_dollars":1000000,"price_after_micro_dollars":2500000,"known_minutes":60}"#;
    for (table, line) in [("evaluations", evaluation), ("decisions", decision)] {
        let import = ["ledger", "import", "--table", table, "-"];
        let told = errors(&book.run(&import, &format!("{line}\n")).code(0));
        assert_eq!(told, "imported 1 new row\n");
    }
    book
}

/// Records 201 decisions about `orders` and one about `pay`.
pub(crate) fn long() -> Book {
    let book = Book::new();
    let evaluations = (0..202).map(|number| {
        let at = 1_790_000_040_000_i64 + number * 3_600_000;
        format!(
            r#"{{"account":"a1b2c","plan_id":"p{number}","evaluated_at_ms":{at},"dry_run":false,"blind":false,"by":"w","usage_window":"ledger","price_micro_dollars":1}}"#
        )
    });
    let decisions = (0..202).map(|number| {
        let namespace = if number == 0 { "pay" } else { "orders" };
        format!(
            r#"{{"account":"a1b2c","plan_id":"p{number}","namespace":"{namespace}.a1b2c","action":"Keep","reason_code":"c","reason":"r{number}"}}"#
        )
    });
    let (evaluations, decisions): (Vec<_>, Vec<_>) = (evaluations.collect(), decisions.collect());
    for (table, lines) in [("evaluations", evaluations), ("decisions", decisions)] {
        let import = ["ledger", "import", "--table", table, "-"];
        book.run(&import, &(lines.join("\n") + "\n")).code(0);
    }
    book
}
