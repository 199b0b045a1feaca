//! Prints what provisioned capacity costs in an hour without actions: `cargo run -p capacity-engine --example
//! price_of_idling -- 50`.
#![expect(clippy::print_stdout, reason = "an example prints")]

use capacity_engine::pricing::{ActionPrice, PricePerMillion, in_dollars, minimum_actions_per_hour};
use capacity_engine::{Capacity, Ladder};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dollars = std::env::args().nth(1).unwrap_or_else(|| "50".to_owned());
    let price = ActionPrice::flat(PricePerMillion::try_new(dollars.parse()?)?);
    let ladder = Ladder::from_wire(&[2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    for trus in ladder.steps() {
        let capacity = Capacity::Provisioned(*trus);
        let actions = minimum_actions_per_hour(capacity);
        println!(
            "{trus}: {actions} actions/h, {} an idle hour at {price}",
            in_dollars(price.idle_hour(capacity))
        );
    }
    Ok(())
}
