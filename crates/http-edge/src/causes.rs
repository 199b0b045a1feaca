//! Formats the causes of an error for `{:#}`.

use std::error::Error;
use std::fmt;

/// Writes `: ` and each cause, starting with `first`, in the alternate form (`{error:#}`). Writes nothing in the usual form,
/// which contains only the error's own text.
///
/// # Errors
///
/// If the formatter fails.
pub fn write_causes(f: &mut fmt::Formatter<'_>, first: &(dyn Error + 'static)) -> fmt::Result {
    if !f.alternate() {
        return Ok(());
    }
    let mut cause = Some(first);
    while let Some(error) = cause {
        // Not in the alternate form, which may repeat the causes.
        f.write_fmt(format_args!(": {error}"))?;
        cause = error.source();
    }
    Ok(())
}
