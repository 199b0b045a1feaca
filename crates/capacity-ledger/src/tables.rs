//! The tables, as append-only migration steps.

/// The newest version that this program knows. A program that only knows a lower one refuses to open the
/// ledger.
pub(crate) const VERSION: i64 = 2;

/// `{bytes}` is replaced by the database's type for bytes, `{random}` by sixteen random digits.
pub(crate) const STEPS: &[&[&str]] = &[
    &[
        "CREATE TABLE capacity_namespaces (id BIGINT PRIMARY KEY, account TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (account, name))",
        "CREATE TABLE capacity_minutes (account TEXT NOT NULL, minute BIGINT NOT NULL, complete BIGINT NOT NULL, source TEXT NOT NULL, \
     namespaces BIGINT NOT NULL, block {bytes} NOT NULL, PRIMARY KEY (account, minute))",
        "CREATE TABLE capacity_hours (account TEXT NOT NULL, namespace TEXT NOT NULL, hour BIGINT NOT NULL, known_minutes BIGINT NOT NULL, \
     throttled_minutes BIGINT NOT NULL, actions_sum BIGINT NOT NULL, requests_sum BIGINT NOT NULL, operations_sum BIGINT NOT NULL, \
     actions_highest BIGINT NOT NULL, requests_highest BIGINT NOT NULL, operations_highest BIGINT NOT NULL, \
     PRIMARY KEY (account, namespace, hour))",
        "CREATE TABLE capacity_folded (account TEXT PRIMARY KEY, before_hour BIGINT NOT NULL)",
        // No key: two claims may have the same millisecond, and both count.
        "CREATE TABLE capacity_requests (account TEXT NOT NULL, at_ms BIGINT NOT NULL, count BIGINT NOT NULL)",
        "CREATE TABLE capacity_evaluations (account TEXT NOT NULL, plan_id TEXT NOT NULL, evaluated_at_ms BIGINT NOT NULL, \
     dry_run BIGINT NOT NULL, blind BIGINT NOT NULL, made_by TEXT NOT NULL, usage_window TEXT NOT NULL, \
     price_micro_dollars BIGINT NOT NULL, PRIMARY KEY (account, plan_id))",
        "CREATE TABLE capacity_decisions (account TEXT NOT NULL, plan_id TEXT NOT NULL, namespace TEXT NOT NULL, action TEXT NOT NULL, \
     current_trus BIGINT, wanted_trus BIGINT, reason_code TEXT NOT NULL, reason TEXT NOT NULL, price_before BIGINT, \
     price_after BIGINT, known_minutes BIGINT, PRIMARY KEY (account, plan_id, namespace))",
        "CREATE INDEX capacity_decisions_of_a_namespace ON capacity_decisions (account, namespace)",
        "CREATE TABLE capacity_changes (operation_id TEXT PRIMARY KEY, account TEXT NOT NULL, plan_id TEXT NOT NULL, \
     namespace TEXT NOT NULL, from_trus BIGINT NOT NULL, to_trus BIGINT NOT NULL, outcome TEXT NOT NULL, error TEXT, \
     ended_at_ms BIGINT NOT NULL, made_by TEXT NOT NULL)",
        "CREATE INDEX capacity_changes_of_a_plan ON capacity_changes (account, plan_id, namespace)",
        "CREATE TABLE capacity_policy_state (account TEXT NOT NULL, namespace TEXT NOT NULL, state TEXT NOT NULL, \
     PRIMARY KEY (account, namespace))",
    ],
    &[
        "ALTER TABLE capacity_hours ADD COLUMN actions_known_minutes BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE capacity_hours ADD COLUMN requests_known_minutes BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE capacity_hours ADD COLUMN operations_known_minutes BIGINT NOT NULL DEFAULT 0",
        // Earlier versions read all rates in every minute.
        "UPDATE capacity_hours SET actions_known_minutes = known_minutes, requests_known_minutes = known_minutes, \
         operations_known_minutes = known_minutes",
        "CREATE TABLE capacity_identity (id TEXT NOT NULL)",
        "INSERT INTO capacity_identity (id) VALUES ({random})",
    ],
];

/// Steps that do not affect programs with the same [`VERSION`], so that a release can be rolled back without
/// losing its ledger.
pub(crate) const ADDITIONS: &[&[&str]] = &[
    &[
        // Only imports ever wrote to this table, and its rows have neither a policy nor a time.
        "DROP TABLE capacity_policy_state",
        "CREATE TABLE capacity_policy_state (account TEXT NOT NULL, namespace TEXT NOT NULL, policy TEXT NOT NULL, \
     version BIGINT NOT NULL, minute BIGINT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (account, namespace, policy))",
    ],
    &[
        "CREATE TABLE capacity_policy_decisions (account TEXT NOT NULL, plan_id TEXT NOT NULL, namespace TEXT NOT NULL, \
     policy TEXT NOT NULL, version BIGINT NOT NULL, shadow BIGINT NOT NULL, action TEXT NOT NULL, current_trus BIGINT, \
     wanted_trus BIGINT, blocked_trus BIGINT, reason_code TEXT NOT NULL, reason TEXT NOT NULL, options TEXT NOT NULL, \
     PRIMARY KEY (account, plan_id, namespace, policy, shadow))",
        "CREATE INDEX capacity_policy_decisions_of_a_namespace ON capacity_policy_decisions (account, namespace)",
    ],
    &[
        "CREATE TABLE capacity_decision_inputs (account TEXT NOT NULL, plan_id TEXT NOT NULL, namespace TEXT NOT NULL, \
     inputs TEXT NOT NULL, PRIMARY KEY (account, plan_id, namespace))",
    ],
    &[
        "CREATE TABLE capacity_decision_blocks (account TEXT NOT NULL, plan_id TEXT NOT NULL, first_namespace BIGINT NOT NULL, \
     last_namespace BIGINT NOT NULL, decisions BIGINT NOT NULL, block {bytes} NOT NULL, PRIMARY KEY (account, plan_id, first_namespace))",
    ],
];

/// Minimum number of additions in a database that has the table for policy state.
pub(crate) const WITH_POLICY_STATE: usize = 1;
/// Minimum number of additions in a database that has the table for decisions of policies.
pub(crate) const WITH_POLICY_DECISIONS: usize = 2;
/// Minimum number of additions in a database that has the table for decision inputs.
pub(crate) const WITH_DECISION_INPUTS: usize = 3;
/// Minimum number of additions in a database that has the table for decision blocks.
pub(crate) const WITH_DECISION_BLOCKS: usize = 4;
