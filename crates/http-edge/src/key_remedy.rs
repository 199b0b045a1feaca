//! Explains a service's message about a rejected key.

/// Explains a service's message about a key and how to fix the problem; `None` if the message is not about the key. The messages
/// are plain text from the proxy in front of the service (Envoy's JWT filter).
///
/// `key` and `address` are the names of the settings for the key and the base URL.
pub fn key_remedy(message: &str, key: &str, address: &str) -> Option<String> {
    let message = message.to_ascii_lowercase();
    if !message.contains("jwt") && !message.contains("jwks") {
        return None;
    }
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    Some(if says(&["missing"]) {
        format!(
            "the service found no usable key in the request: check {key}, and whether a proxy removes the `Authorization` header"
        )
    } else if says(&["expired"]) {
        format!("the key has expired: create a new one and set {key} to it")
    } else if says(&["not in the form", "base64", "invalid json", "header", "payload"]) {
        format!("this is not an API key: check {key} for quotes, a line break, or another secret")
    } else {
        format!("the key was revoked, or belongs to another environment: check {key} and {address}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::nothing_sent("Jwt is missing", Some("no usable key in the request: check THE_KEY"))]
    #[case::expired("Jwt is expired", Some("the key has expired"))]
    #[case::not_a_key(
        "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
        Some("this is not an API key: check THE_KEY")
    )]
    #[case::revoked("Jwt verification fails", Some("check THE_KEY and THE_URL"))]
    #[case::something_else("permission denied", None)]
    fn messages_about_a_key_are_explained(#[case] message: &str, #[case] expected: Option<&str>) {
        let remedy = key_remedy(message, "THE_KEY", "THE_URL");
        match (&remedy, expected) {
            (Some(remedy), Some(expected)) => assert!(remedy.contains(expected), "{remedy}"),
            _ => assert_eq!(remedy.as_deref(), expected),
        }
    }
}
