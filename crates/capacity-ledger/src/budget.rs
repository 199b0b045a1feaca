//! The budget of requests to the metrics endpoint, which all processes of an account share.

use jiff::{SignedDuration, Timestamp};
use sqlx::Row;

use crate::backend::{Access, query, within};
use crate::error::LedgerError;
use crate::store::Ledger;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// The result of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claim {
    /// The requests are allowed, and counted.
    Granted,
    /// The requests are not allowed yet.
    Refused {
        /// The time from which they are allowed, because enough earlier requests are more than an hour old.
        until: Timestamp,
    },
}

impl Ledger {
    /// Claims requests from a budget per hour that all processes with this ledger share.
    ///
    /// # Errors
    ///
    /// If the database cannot be read or written.
    pub async fn claim_requests(
        &self,
        account: &str,
        now: Timestamp,
        count: u32,
        per_hour: u32,
    ) -> Result<Claim, LedgerError> {
        let now_ms = now.as_millisecond();
        let begins = now_ms - i64::try_from(HOUR.as_millis()).unwrap_or(i64::MAX);
        // Reads the sum, then adds to it: two claims at once must not both see the last free request.
        let access = Access::WriteAlone("capacity_requests");
        let freed = within!(self, access, transaction => {
            query("DELETE FROM capacity_requests WHERE account = $1 AND at_ms <= $2")
                .bind(account)
                .bind(begins)
                .execute(&mut *transaction)
                .await?;
            let rows = query("SELECT at_ms, count FROM capacity_requests WHERE account = $1 ORDER BY at_ms")
                .bind(account)
                .fetch_all(&mut *transaction)
                .await?;
            let mut made = Vec::with_capacity(rows.len());
            for row in rows {
                made.push((row.try_get::<i64, _>(0)?, row.try_get::<i64, _>(1)?));
            }
            let used: i64 = made.iter().map(|(_, count)| count).sum();
            let mut over = used + i64::from(count) - i64::from(per_hour);
            if over <= 0 {
                query("INSERT INTO capacity_requests (account, at_ms, count) VALUES ($1, $2, $3)")
                    .bind(account)
                    .bind(now_ms)
                    .bind(i64::from(count))
                    .execute(&mut *transaction)
                    .await?;
                None
            } else {
                // The oldest are dropped first.
                let freed = made.iter().find(|(_, count)| {
                    over -= count;
                    over <= 0
                });
                Some(freed.map_or(now_ms, |(at, _)| *at))
            }
        })?;
        Ok(freed.map_or(Claim::Granted, |freed| Claim::Refused {
            until: Timestamp::from_millisecond(freed)
                .unwrap_or(now)
                .saturating_add(HOUR)
                .unwrap_or(now),
        }))
    }

    /// Returns how many requests the budget allows between `now` and `ahead` later, if no other requests are
    /// made: those that are unused, and those whose hour ends by then.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub async fn requests_available(
        &self,
        account: &str,
        now: Timestamp,
        ahead: SignedDuration,
        per_hour: u32,
    ) -> Result<u32, LedgerError> {
        let kept = HOUR.saturating_sub(ahead);
        let since = now.as_millisecond() - i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
        let used = within!(self, Access::Read, transaction => {
            // PostgreSQL returns the sum of BIGINT as NUMERIC, which is not read as an integer.
            let sum = "SELECT CAST(COALESCE(SUM(count), 0) AS BIGINT) FROM capacity_requests \
                       WHERE account = $1 AND at_ms > $2";
            let row = query(sum).bind(account).bind(since).fetch_one(&mut *transaction).await?;
            row.try_get::<i64, _>(0)?
        })?;
        Ok(u32::try_from(i64::from(per_hour) - used).unwrap_or(0))
    }
}
