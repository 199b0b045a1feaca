//! The ledger of an autopilot: opened when it is first needed, and again after it failed.

use std::time::Duration;

use capacity_ledger::{ErrorKind, Ledger, LedgerError, Location};
use tokio::sync::Mutex;

/// Evaluations do not wait longer than this for a ledger.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A ledger that may be out of reach for a while.
#[derive(Debug)]
pub struct LedgerHandle {
    /// Where it is opened; `None`: it was passed in open.
    location: Option<Location>,
    open: Mutex<Option<Ledger>>,
}

impl LedgerHandle {
    /// Returns the handle of a ledger that is opened when it is first needed.
    pub fn at(location: Location) -> Self {
        Self {
            location: Some(location),
            open: Mutex::new(None),
        }
    }

    /// Calls the ledger, opening it if it is not open, for ten seconds at most. After a failure, the next call opens it again: the
    /// database may be back, or a damaged file may have been moved away.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, does not answer in time, or as the call says.
    pub async fn call<T>(
        &self,
        call: impl AsyncFnOnce(&Ledger) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.call_within(PATIENCE, call).await
    }

    /// As [`LedgerHandle::call`], for a call that may take longer.
    ///
    /// # Errors
    ///
    /// As [`LedgerHandle::call`].
    pub async fn call_within<T>(
        &self,
        patience: Duration,
        call: impl AsyncFnOnce(&Ledger) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let called = async {
            let ledger = self.ledger().await?;
            call(&ledger).await
        };
        let answer = tokio::time::timeout(patience, called).await.unwrap_or_else(|_| {
            let location = self.location.as_ref().map(ToString::to_string);
            Err(LedgerError::unanswered(&location.unwrap_or_default(), patience))
        });
        if let Err(error) = &answer
            && error.kind() != ErrorKind::Input
            && self.location.is_some()
        {
            *self.open.lock().await = None;
        }
        answer
    }

    async fn ledger(&self) -> Result<Ledger, LedgerError> {
        if let Some(open) = self.open.lock().await.clone() {
            return Ok(open);
        }
        // Without a location, the ledger was passed in open, and is never closed.
        let location = self.location.as_ref().expect("just seen: it is not open");
        let opened = Ledger::open(location).await?;
        *self.open.lock().await = Some(opened.clone());
        Ok(opened)
    }
}

impl From<Ledger> for LedgerHandle {
    fn from(ledger: Ledger) -> Self {
        Self {
            location: None,
            open: Mutex::new(Some(ledger)),
        }
    }
}
