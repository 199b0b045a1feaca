//! The operations of the program: start in dependency order, stop, show status, drain, restart, upgrade.

mod logs;
mod processes;
mod rolling;
mod start;
mod status;
mod stop;
mod up;

use anyhow::Context;

pub use self::logs::logs;
pub use self::rolling::{drain, restart, upgrade};
pub use self::start::connected;
pub use self::status::{Line, status};
pub use self::stop::down;
pub use self::up::{Up, preconditions, up};
use crate::place::Place;
use crate::{certificates, tell};

/// Locks the run directory, so that only one command uses it at a time.
///
/// # Errors
///
/// If another command is using it.
pub fn lock(place: &Place) -> anyhow::Result<std::fs::File> {
    std::fs::create_dir_all(place.folder())
        .with_context(|| format!("cannot create {}", place.folder().display()))?;
    let file = std::fs::File::create(place.folder().join("lock"))?;
    // The system releases it when the command ends, however it ends.
    let locked = file.try_lock();
    anyhow::ensure!(
        locked.is_ok(),
        "another temporal-stack command is running in {}: wait until it finishes",
        place.folder().display()
    );
    Ok(file)
}

/// Issues all leaf certificates again.
///
/// # Errors
///
/// If they cannot be written.
pub fn renew_certificates(place: &Place) -> anyhow::Result<()> {
    let stack = place.stack()?;
    certificates::renew(
        &place.tls(),
        &stack.network().loopback,
        stack.settings.tls.leaf_days.into(),
    )?;
    tell("issued new certificates; the roles use them within a minute, clients when they reconnect");
    Ok(())
}
