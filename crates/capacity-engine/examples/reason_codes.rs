//! Prints the table of reason codes: `cargo run -p capacity-engine --example reason_codes > docs/reason-codes.md`.
#![expect(clippy::print_stdout, reason = "an example prints")]

use capacity_engine::ReasonCode;

fn main() {
    println!("# Reason codes\n");
    println!(
        "Every decision has exactly one reason code. Codes are a stable interface: new ones may be added, \
         and existing ones are never renamed. The table lists them in the order in which they are checked:\n"
    );
    println!("| code | meaning |\n| --- | --- |");
    for code in ReasonCode::ALL {
        println!("| `{code}` | {} |", code.meaning());
    }
}
