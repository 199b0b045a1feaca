//! Errors with their causes.

/// Returns an error with its causes in one line, without repeating text: `cannot read the file: permission denied`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many errors already contain the text of their source.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        #[source]
        cause: Option<Box<Layer>>,
    }

    #[test]
    fn each_cause_is_added_unless_the_text_contains_it() {
        let layer = |text, cause: Option<Layer>| Layer {
            text,
            cause: cause.map(Box::new),
        };
        let refused = || layer("connection refused", None);
        assert_eq!(chain(&refused()), "connection refused");
        assert_eq!(
            chain(&layer("no answer", Some(refused()))),
            "no answer: connection refused"
        );
        let repeated = layer("no answer: connection refused", Some(refused()));
        assert_eq!(
            chain(&layer("failed", Some(repeated))),
            "failed: no answer: connection refused"
        );
    }
}
