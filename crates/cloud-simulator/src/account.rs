//! The setup of an account: namespaces with their load, and a few ready-made accounts.

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::load::{Load, unit};

/// The operations key's access to a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Access {
    /// Can change it.
    #[default]
    Admin,
    /// Can read it.
    Read,
    /// Cannot see it.
    None,
}

// Exhaustive: callers use struct update syntax (`..`), so a new field gets its default.
/// A namespace to simulate.
#[derive(Debug, Clone)]
pub struct NamespaceSetup {
    /// Bare name of the namespace.
    pub name: String,
    /// TRUs at the start; 0 means on-demand.
    pub trus: u32,
    /// The load on the namespace.
    pub load: Load,
    /// Requests and operations per action.
    pub per_action: (f64, f64),
    /// Mean actions per second in the seven days before the start; by default the mean of the load, but at
    /// most 100. A replayed load has no history, so without this value, only simulated minutes count.
    pub usual: Option<f64>,
    /// How long callers retry throttled work before they give up; `None` retries until it is served, as for a
    /// replayed load. Steady loads give up after 30 seconds, because their queue would never drain.
    pub patience: Option<SignedDuration>,
    /// A limit that Temporal Support has set, in actions per second.
    pub support_actions_limit: Option<f64>,
    /// State of the second replica; `None` if there is only one replica.
    pub second_replica: Option<&'static str>,
    /// How long before the start the operation that adds or removes the second replica began. It is still
    /// running.
    pub second_replica_moves_for: Option<SignedDuration>,
    /// State of the namespace.
    pub state: &'static str,
    /// The operations key's access to the namespace.
    pub access: Access,
    /// Available sizes in TRUs.
    pub ladder: Vec<u32>,
    /// Largest size that the region can provide.
    pub inventory: Option<u32>,
}

impl NamespaceSetup {
    /// Returns an on-demand namespace with this load.
    pub fn new(name: impl Into<String>, load: Load) -> Self {
        let patience = match load {
            Load::Replay(_) => None,
            Load::Idle | Load::Steady(_) | Load::Bursty { .. } => Some(SignedDuration::from_secs(30)),
        };
        Self {
            name: name.into(),
            trus: 0,
            load,
            per_action: (2.0, 5.0),
            usual: None,
            patience,
            support_actions_limit: None,
            second_replica: None,
            second_replica_moves_for: None,
            state: "RESOURCE_STATE_ACTIVE",
            access: Access::Admin,
            ladder: vec![2, 3, 4, 6, 8, 10, 12],
            inventory: Some(12),
        }
    }

    /// Sets the number of TRUs.
    #[must_use]
    pub fn with_trus(self, trus: u32) -> Self {
        Self { trus, ..self }
    }

    /// Sets the number of requests and operations per action.
    #[must_use]
    pub fn with_per_action(self, requests: f64, operations: f64) -> Self {
        Self {
            per_action: (requests, operations),
            ..self
        }
    }

    pub(crate) fn ratio(&self, kind: usize) -> f64 {
        // Limits are divided by it.
        [1.0, self.per_action.0, self.per_action.1][kind].max(1e-9)
    }

    pub(crate) fn usual_actions(&self) -> Option<f64> {
        self.usual
            .or_else(|| self.load.usual().map(|usual| usual.min(100.0)))
    }

    pub(crate) fn support_limit(&self, kind: usize) -> f64 {
        if kind == 0 {
            self.support_actions_limit.unwrap_or(0.0)
        } else {
            0.0
        }
    }
}

/// An account to simulate.
#[derive(Debug, Clone)]
pub struct Account {
    /// Id of the account.
    pub id: String,
    /// Namespaces of the account.
    pub namespaces: Vec<NamespaceSetup>,
}

impl Account {
    /// Returns an account with these namespaces.
    pub fn new(id: impl Into<String>, namespaces: Vec<NamespaceSetup>) -> Self {
        Self {
            id: id.into(),
            namespaces,
        }
    }

    /// Returns a small account with one namespace of each kind: throttled, forgotten, busy, bursty,
    /// replicated, set by support.
    pub fn demo() -> Self {
        let steady = |name: &str, rate: f64| NamespaceSetup::new(name, Load::Steady(rate));
        let mut ledger = steady("ledger-eu", 40.0);
        ledger.second_replica = Some("REPLICA_STATE_ADDING");
        // 7 is not on the ladder, which clients must handle.
        let mut batch = steady("batch-legacy", 0.001).with_trus(7);
        batch.support_actions_limit = Some(3_000.0);
        let mut media = steady("media-transcode", 2_150.0).with_trus(4);
        // After a quiet week, on-demand would allow only 600 actions/s, less than a third of the load.
        media.usual = Some(300.0);
        Self::new(
            "a1b2c",
            vec![
                steady("analytics", 0.0).with_trus(8),
                batch,
                steady("checkout", 560.0),
                steady("crm-sync", 3.0),
                NamespaceSetup::new(
                    "data-import",
                    Load::Bursty {
                        base: 5.0,
                        burst: 320.0,
                        minutes: 10,
                    },
                ),
                steady("fulfillment", 640.0).with_trus(3),
                ledger,
                media,
                steady("notifications", 210.0),
                steady("orders", 0.0125).with_trus(4),
                steady("reports", 0.002).with_trus(2),
                NamespaceSetup::new("staging", Load::Idle),
            ],
        )
    }

    /// Generates an account with many namespaces, of which a share needs a change: half of those are
    /// throttled, half idle but provisioned. The rest is quiet, idle, busy, or provisioned and busy. The same
    /// seed generates the same account.
    pub fn generate(namespaces: usize, share_wanting_change: f64, seed: u64) -> Self {
        let mut wanting = 0.0;
        let mut changes = 0_usize;
        let namespaces = (0..namespaces)
            .map(|number| {
                let draw = |salt: u64| unit(seed ^ (number as u64) << 8 ^ salt);
                // Accumulated instead of drawn, so that the share is exact and spread evenly. The tolerance
                // below is for sums such as ten times 0.1.
                wanting += share_wanting_change.clamp(0.0, 1.0);
                let name = format!("{}-{number:05}", TEAMS[number % TEAMS.len()]);
                if wanting >= 1.0 - 1e-9 {
                    wanting -= 1.0;
                    changes += 1;
                    return if changes.is_multiple_of(2) {
                        NamespaceSetup::new(name, Load::Steady(0.01)).with_trus([2, 4, 6, 8][changes / 2 % 4])
                    } else {
                        NamespaceSetup::new(name, Load::Steady(520.0 + draw(1) * 200.0))
                    };
                }
                match draw(2) {
                    share if share < 0.60 => NamespaceSetup::new(name, Load::Steady(1.0 + draw(3) * 20.0)),
                    share if share < 0.85 => NamespaceSetup::new(name, Load::Idle),
                    share if share < 0.95 => NamespaceSetup::new(name, Load::Steady(60.0 + draw(3) * 300.0)),
                    _ => NamespaceSetup::new(name, Load::Steady(300.0 + draw(3) * 500.0)).with_trus(2),
                }
            })
            .collect();
        Self::new("a1b2c", namespaces)
    }
}

const TEAMS: [&str; 8] = [
    "billing",
    "checkout",
    "fraud",
    "growth",
    "logistics",
    "orders",
    "search",
    "trust",
];

/// Returns a full spec, with everything that an incomplete update would switch off, and a field from a newer
/// API version.
pub(crate) fn spec_of(setup: &NamespaceSetup) -> Value {
    let mut replicas = vec![json!({ "region": "aws-us-east-1" })];
    if setup.second_replica.is_some() {
        replicas.push(json!({ "region": "aws-us-west-2" }));
    }
    let mut spec = json!({
        "name": setup.name,
        "retentionDays": 30,
        "replicas": replicas,
        "mtlsAuth": { "acceptedClientCa": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t", "enabled": true },
        "apiKeyAuth": { "enabled": true },
        "searchAttributes": { "CustomerId": "SEARCH_ATTRIBUTE_TYPE_KEYWORD" },
        "codecServer": { "endpoint": "https://codec.example.com", "passAccessToken": true },
        "lifecycle": { "enableDeleteProtection": true },
        "highAvailability": { "disableManagedFailover": false },
        // Not sorted, because the service returns these in changing order.
        "connectivityRuleIds": ["rule-b", "rule-a"],
        "fairness": { "taskQueueFairnessEnabled": false },
        // Newer than the API version that clients were written for.
        "description": "simulated",
    });
    // The service leaves the field out until a capacity was requested.
    if setup.trus > 0 {
        spec["capacitySpec"] = json!({ "provisioned": { "value": setup.trus } });
    }
    spec
}
