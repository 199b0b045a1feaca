//! The name under which the state of a policy is stored.

/// Prefix for the name of a shadow policy, whose state is stored separately from its state as the active
/// policy.
const SHADOW: &str = "shadow:";

/// Returns the name under which the state of a policy is stored.
pub(crate) fn state_key(policy: &str, in_shadow: bool) -> String {
    if in_shadow {
        format!("{SHADOW}{policy}")
    } else {
        policy.to_owned()
    }
}
