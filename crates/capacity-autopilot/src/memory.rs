//! The autopilot's memory: a ledger that is opened when it is first needed, and anew after it failed.

use capacity_engine::{Lowering, ReasonCode};
use capacity_ledger::{ErrorKind, Ledger, LedgerError, Location};
use tokio::sync::Mutex;

use crate::text::chain;

/// A ledger that may be out of reach for a while.
#[derive(Debug)]
pub struct Memory {
    /// Where it is opened; `None`: it was handed over open.
    location: Option<Location>,
    open: Mutex<Option<Ledger>>,
}

impl Memory {
    /// Returns a memory in a ledger that is opened when it is first needed.
    pub fn at(location: Location) -> Self {
        Self {
            location: Some(location),
            open: Mutex::new(None),
        }
    }

    /// Calls the ledger, opening it if it is not open. One that fails is opened anew by the next call: a database may have been
    /// away, and a damaged file been moved away.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, or as the call says.
    pub async fn call<T>(
        &self,
        call: impl AsyncFnOnce(&Ledger) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let ledger = self.ledger().await?;
        let answer = call(&ledger).await;
        if let Err(error) = &answer
            && error.kind() != ErrorKind::Input
            && self.location.is_some()
        {
            *self.open.lock().await = None;
        }
        answer
    }

    async fn ledger(&self) -> Result<Ledger, LedgerError> {
        let mut open = self.open.lock().await;
        if let (None, Some(location)) = (&*open, &self.location) {
            *open = Some(Ledger::open(location).await?);
        }
        // Without a location it was handed over open, and is never closed.
        Ok(open.clone().expect("just opened, or handed over"))
    }
}

impl From<Ledger> for Memory {
    fn from(ledger: Ledger) -> Self {
        Self {
            location: None,
            open: Mutex::new(Some(ledger)),
        }
    }
}

/// What a ledger that fails means: nothing is given back, and raising goes on.
pub(crate) fn held_by(error: &LedgerError) -> Lowering {
    Lowering::Held {
        code: ReasonCode::LedgerUnavailable,
        why: format!("{}; nothing is given back without the ledger", chain(error)),
    }
}
