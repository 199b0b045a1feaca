//! The errors of clients: what was attempted, and the kind of failure as its cause.

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

/// Implements `Display` and `Error` for a client's error: its text with one of its fields, the causes in the alternate form
/// (`{error:#}`), and its field `kind`, which may be boxed, as the source.
#[macro_export]
macro_rules! client_error {
    ($error:ident of $kind:ident, $text:literal, $field:ident) => {
        impl ::std::fmt::Display for $error {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::write!(f, $text, self.$field)?;
                let kind: &$kind = ::std::borrow::Borrow::borrow(&self.kind);
                $crate::write_causes(f, kind)
            }
        }

        impl ::std::error::Error for $error {
            fn source(&self) -> ::std::option::Option<&(dyn ::std::error::Error + 'static)> {
                let kind: &$kind = ::std::borrow::Borrow::borrow(&self.kind);
                ::std::option::Option::Some(kind)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no answer")]
    struct Kind(#[source] std::io::Error);

    #[derive(Debug)]
    struct Failed {
        operation: &'static str,
        kind: Box<Kind>,
    }

    client_error!(Failed of Kind, "failed to {}", operation);

    #[test]
    fn causes_are_shown_in_the_alternate_form() {
        let error = Failed {
            operation: "list namespaces",
            kind: Box::new(Kind(std::io::Error::other("connection refused"))),
        };
        assert_eq!(error.to_string(), "failed to list namespaces");
        assert_eq!(
            format!("{error:#}"),
            "failed to list namespaces: no answer: connection refused"
        );
        let source = error.source().expect("the kind");
        assert!(source.is::<Kind>());
    }
}
