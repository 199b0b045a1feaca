//! The causes of an error, for its `{:#}`.

use std::error::Error;
use std::fmt;

/// Writes the causes of an error after its text where the alternate form (`{error:#}`) is asked for: `: ` and each cause, from `first`
/// on. Writes nothing in the usual form, which holds the error's own text alone.
///
/// # Errors
///
/// Those of the formatter.
pub fn write_causes(f: &mut fmt::Formatter<'_>, first: &(dyn Error + 'static)) -> fmt::Result {
    if !f.alternate() {
        return Ok(());
    }
    let mut cause = Some(first);
    while let Some(error) = cause {
        // Not in the alternate form, which may hold the causes again.
        f.write_fmt(format_args!(": {error}"))?;
        cause = error.source();
    }
    Ok(())
}
