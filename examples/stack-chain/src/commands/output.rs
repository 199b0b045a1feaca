//! Output of commands, and the name of the user.

use std::io::Write as _;

/// Prints a text. Ignores a closed pipe (`| head`).
pub(super) fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// Returns the name of the user at the terminal, who is recorded with decisions.
pub(super) fn who() -> String {
    std::env::var("USER")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}
