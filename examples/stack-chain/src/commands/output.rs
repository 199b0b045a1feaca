//! What commands print, and for whom.

use std::io::Write as _;

/// Prints a text. A reader that went away, such as `head`, is not an error.
pub(super) fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// The name of the person at the terminal, for decisions.
pub(super) fn who() -> String {
    std::env::var("USER")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}
