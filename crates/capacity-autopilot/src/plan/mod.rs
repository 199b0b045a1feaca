//! The plan document: every decision of one evaluation, as users save it and scripts read it.
//!
//! The same document is used by `plan --output json`, by `plan --save` with `apply FILE`, and by `apply`
//! itself, which adds `changes`. Its JSON schema is `docs/plan.schema.json`. A saved plan carries a digest,
//! so that edits are detected. The digest detects accidents; it is not a signature.

mod decision;
mod document;
mod policies;

pub use decision::{ActionName, Percent, PlanSummary, PlannedDecision, PlannedPrice};
pub use document::{PLAN_MAX_AGE, PLAN_SCHEMA, Plan, PlanError};
pub use policies::{PlannedPolicies, PlannedPolicy};
