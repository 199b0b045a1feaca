//! Under which name the state of a policy is kept.

/// Prefix of the name of a shadow policy: its state is kept apart from its state as the acting policy.
const SHADOW: &str = "shadow:";

/// The name under which the state of a policy is kept.
pub(crate) fn state_key(policy: &str, in_shadow: bool) -> String {
    if in_shadow {
        format!("{SHADOW}{policy}")
    } else {
        policy.to_owned()
    }
}
