//! All mistakes in a client's configuration, reported together.

use std::error::Error;
use std::fmt;

/// All mistakes in a configuration; at least one. Each client has its own type of mistakes, with its own messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors<E>(Vec<E>);

impl<E> ConfigErrors<E> {
    /// Wraps the mistakes that a client found; at least one.
    pub fn of(errors: Vec<E>) -> Self {
        debug_assert!(!errors.is_empty(), "a configuration without mistakes is valid");
        Self(errors)
    }

    /// Returns the mistakes, in the order of the fields.
    pub fn errors(&self) -> &[E] {
        &self.0
    }
}

impl<E: fmt::Display> fmt::Display for ConfigErrors<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if number == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl<E: fmt::Debug + fmt::Display> Error for ConfigErrors<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported_in_order() {
        let errors = ConfigErrors::of(vec!["the URL is empty", "the timeout is zero"]);
        assert_eq!(errors.errors().len(), 2);
        assert_eq!(errors.to_string(), "the URL is empty; the timeout is zero");
    }
}
