//! Checks the settings of the working directory and environment, and prints them without their secrets.
#![expect(clippy::print_stdout, reason = "an example prints")]

use capacity_settings::{Inputs, Needs, load};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = load(&Inputs::from_process(), Needs::default())?;
    for setting in &settings.effective {
        println!(
            "{} = {} ({})",
            setting.name,
            setting.value.as_deref().unwrap_or("(not set)"),
            setting.origin
        );
    }
    Ok(())
}
