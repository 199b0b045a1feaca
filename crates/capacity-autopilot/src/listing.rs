//! Lists the namespaces of an account, all of them or none.

use human_text::counted;

use crate::autopilot::Autopilot;
use crate::evaluation::Scope;
use crate::namespaces::Listed;

/// The progress of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Listing namespaces, with the number found so far.
    Listing(usize),
    /// Reading the metrics of this number of namespaces.
    ReadingMetrics(usize),
    /// Reading the capacity info of this number of candidates.
    ReadingCapacityInfo(usize),
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the macro passes every field by reference"
)]
fn nothing_matches(patterns: &str, listed: &usize, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    let listed = counted(*listed, "namespace");
    write!(
        f,
        "no namespace of the account matches {patterns}; the account has {listed}"
    )
}

/// Formats the error. The alternate form (`{error:#}`) includes the causes, as in the errors of the clients.
fn not_listed(source: &cloud_ops_client::Error, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    f.write_str("the namespaces of the account could not be listed; no decisions were made")?;
    if f.alternate() {
        write!(f, ": {source:#}")?;
    }
    Ok(())
}

/// Why an account could not be observed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// The list of namespaces could not be read completely.
    #[error(fmt = not_listed)]
    List(#[source] cloud_ops_client::Error),
    /// The list contains an invalid namespace id.
    #[error("the list of namespaces contains an invalid id: {0}")]
    Id(#[source] capacity_engine::InvalidNamespaceId),
    /// A glob matches none of the listed namespaces.
    #[error(fmt = nothing_matches)]
    NothingMatches {
        /// The globs that matched nothing.
        patterns: String,
        /// Number of namespaces that the account lists.
        listed: usize,
    },
}

/// Lists the account. Calls `begun` once, after the first page.
pub(crate) async fn list(
    autopilot: &Autopilot,
    progress: &(dyn Fn(Progress) + Sync),
    begun: impl FnOnce(),
) -> Result<Vec<Listed>, ObserveError> {
    let mut listed: Vec<Listed> = Vec::new();
    let mut problem = None;
    let mut begun = Some(begun);
    progress(Progress::Listing(0));
    let each = |namespace| {
        if let Some(begun) = begun.take() {
            set_clock(autopilot);
            begun();
        }
        match Listed::try_from(namespace) {
            Ok(one) => listed.push(one),
            // The error ends the evaluation, but only after the last page: the callback cannot stop the
            // iteration.
            Err(error) => problem = Some(error),
        }
        if listed.len().is_multiple_of(1_000) {
            progress(Progress::Listing(listed.len()));
        }
    };
    autopilot
        .ops()
        .for_each_namespace(each)
        .await
        .map_err(ObserveError::List)?;
    set_clock(autopilot);
    if let Some(begun) = begun.take() {
        begun();
    }
    if let Some(error) = problem {
        return Err(ObserveError::Id(error));
    }
    // The API documents ascending names. `Names::contains` and `Round::take` search, so the order must not
    // depend on it.
    listed.sort_by(|one, other| one.id.cmp(&other.id));
    autopilot.note_listed(&listed);
    Ok(listed)
}

/// Corrects the clock: metrics may come from the ledger, so that no metrics response provides the service's time.
fn set_clock(autopilot: &Autopilot) {
    if let Some(date) = autopilot.ops().server_time() {
        autopilot.clock().correct(date);
    }
}

pub(crate) fn in_scope(mut listed: Vec<Listed>, scope: &Scope) -> Result<Vec<Listed>, ObserveError> {
    if let Scope::Matching(patterns) = scope {
        let unmatched = patterns.unmatched(listed.iter().map(|listed| &listed.id));
        if !unmatched.is_empty() {
            return Err(ObserveError::NothingMatches {
                patterns: unmatched.join(", "),
                listed: listed.len(),
            });
        }
    }
    listed.retain(|listed| scope.contains(&listed.id));
    Ok(listed)
}
