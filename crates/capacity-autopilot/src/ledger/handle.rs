//! The ledger of an autopilot: opened when it is first needed, and reopened after a failure.

use std::time::Duration;

use capacity_ledger::{ErrorKind, Ledger, LedgerError, Location};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Maximum time that an evaluation waits for a ledger.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long calls after a failure fail at once, if the handle waits only once.
const REST: Duration = Duration::from_secs(30);

/// A ledger that may be temporarily unreachable.
#[derive(Debug)]
pub struct LedgerHandle {
    /// Where the ledger is opened; `None` if the caller passed an open ledger.
    location: Option<Location>,
    /// Whether a ledger that does not exist is created.
    creates: bool,
    /// Whether calls shortly after a failure fail at once.
    rests: bool,
    failed: Mutex<Option<(Instant, LedgerError)>>,
    open: Mutex<Option<Ledger>>,
}

impl LedgerHandle {
    /// Creates a handle for a ledger that is opened when it is first needed.
    pub fn at(location: Location) -> Self {
        Self {
            location: Some(location),
            creates: true,
            rests: false,
            failed: Mutex::new(None),
            open: Mutex::new(None),
        }
    }

    /// Like [`LedgerHandle::at`], for read-only programs: a ledger that does not exist is an error and is not created.
    pub fn existing(location: Location) -> Self {
        Self {
            creates: false,
            ..Self::at(location)
        }
    }

    /// Makes calls within half a minute after a failure fail at once with the same error, for commands in which someone waits: a
    /// database that does not respond is waited for once, not by every call.
    #[must_use]
    pub fn waiting_once(self) -> Self {
        Self { rests: true, ..self }
    }

    /// Calls the ledger for at most ten seconds, and opens it if it is not open. After a failure, the next
    /// call opens it again: the database may be back, or a damaged file may have been moved away.
    ///
    /// # Errors
    ///
    /// If the ledger cannot be opened or does not respond in time, or if the call fails.
    pub async fn call<T>(
        &self,
        call: impl AsyncFnOnce(&Ledger) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.call_within(PATIENCE, call).await
    }

    /// Lets the next call reach the ledger, although an earlier one failed less than half a minute ago. For
    /// what must not be lost, such as the record of a change.
    pub async fn retry_now(&self) {
        *self.failed.lock().await = None;
    }

    /// Like [`LedgerHandle::call`], for a call that may take longer.
    ///
    /// # Errors
    ///
    /// As [`LedgerHandle::call`].
    pub async fn call_within<T>(
        &self,
        patience: Duration,
        call: impl AsyncFnOnce(&Ledger) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        if let Some((at, error)) = &*self.failed.lock().await
            && self.rests
            && at.elapsed() < REST
        {
            return Err(error.clone());
        }
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
            // Only a handle with a location can open it again. The caller's own ledger stays, or it would
            // be gone for good.
            *self.open.lock().await = None;
            *self.failed.lock().await = Some((Instant::now(), error.clone()));
        }
        answer
    }

    async fn ledger(&self) -> Result<Ledger, LedgerError> {
        // The lock is not held while the ledger is opened: a database that does not respond would make
        // every other call wait for its time limit, too.
        if let Some(open) = self.open.lock().await.clone() {
            return Ok(open);
        }
        // Without a location, the caller passed an open ledger, which is never closed.
        let location = self.location.as_ref().expect("just seen: it is not open");
        let opened = if self.creates {
            Ledger::open(location).await?
        } else {
            Ledger::open_existing(location).await?
        };
        *self.open.lock().await = Some(opened.clone());
        Ok(opened)
    }
}

impl From<Ledger> for LedgerHandle {
    fn from(ledger: Ledger) -> Self {
        Self {
            location: None,
            creates: false,
            rests: false,
            failed: Mutex::new(None),
            open: Mutex::new(Some(ledger)),
        }
    }
}
