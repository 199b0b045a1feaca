//! Prints the table of reason codes: `cargo run -p capacity-engine --example reason_codes > docs/reason-codes.md`.
#![expect(clippy::print_stdout, reason = "an example prints")]

use capacity_engine::ReasonCode;

fn main() {
    println!("# Reason codes\n");
    println!(
        "Every decision carries one. Codes are an interface: added to, never renamed. In the order in which they are judged:\n"
    );
    println!("| code | meaning |\n| --- | --- |");
    for code in ReasonCode::ALL {
        println!("| `{code}` | {} |", code.meaning());
    }
}
