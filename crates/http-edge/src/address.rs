//! Validates the addresses of services that receive a secret.

use std::net::IpAddr;

use url::{Host, Url};

/// Why an address is invalid. Each client has its own messages with the names of its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressProblem {
    /// The address is not a URL with a host.
    NotAUrl,
    /// The address contains a user or a password.
    Credentials,
    /// The address contains a query or a fragment.
    QueryOrFragment,
    /// The address is plain http to another machine.
    NotEncrypted,
}

/// Parses the base URL of an API. It must be https, or http to a loopback address or if `plain_http` is true, and must not
/// contain credentials, a query or a fragment.
///
/// # Errors
///
/// If the address is anything else.
pub fn base_url(text: &str, plain_http: bool) -> Result<Url, AddressProblem> {
    let url = without_credentials(text)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(AddressProblem::QueryOrFragment);
    }
    encrypted(url, plain_http)
}

/// Parses an address that is itself a secret, such as a webhook. It must be https, or http to a loopback address, and must not
/// contain credentials.
///
/// # Errors
///
/// If the address is anything else.
pub fn secret_url(text: &str) -> Result<Url, AddressProblem> {
    encrypted(without_credentials(text)?, false)
}

fn without_credentials(text: &str) -> Result<Url, AddressProblem> {
    let url = Url::parse(text).map_err(|_| AddressProblem::NotAUrl)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(AddressProblem::Credentials);
    }
    Ok(url)
}

fn encrypted(url: Url, plain_http: bool) -> Result<Url, AddressProblem> {
    match url.scheme() {
        "https" if url.has_host() => Ok(url),
        "http" if is_loopback(&url) || (plain_http && url.has_host()) => Ok(url),
        "http" | "https" => Err(AddressProblem::NotEncrypted),
        _ => Err(AddressProblem::NotAUrl),
    }
}

/// Returns whether an address is on this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        // Reserved for this machine by RFC 6761. Any other name could resolve to another machine.
        Some(Host::Domain(domain)) => domain.eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::https("https://example.com/prefix", None)]
    #[case::loopback("http://127.0.0.1:9090", None)]
    #[case::loopback_v6("http://[::1]:9090", None)]
    #[case::localhost("http://localhost:9090", None)]
    #[case::plain_http("http://example.com", Some(AddressProblem::NotEncrypted))]
    #[case::user("https://me@example.com", Some(AddressProblem::Credentials))]
    #[case::password("https://me:hunter2@example.com?x=1", Some(AddressProblem::Credentials))]
    #[case::query("https://example.com?x=1", Some(AddressProblem::QueryOrFragment))]
    #[case::fragment("https://example.com#x", Some(AddressProblem::QueryOrFragment))]
    #[case::other_scheme("ftp://example.com", Some(AddressProblem::NotAUrl))]
    #[case::no_scheme("example.com", Some(AddressProblem::NotAUrl))]
    fn only_an_address_that_protects_secrets_is_accepted(
        #[case] text: &str,
        #[case] problem: Option<AddressProblem>,
    ) {
        assert_eq!(base_url(text, false).err(), problem);
    }

    #[test]
    fn plain_http_is_accepted_where_it_is_allowed_and_a_secret_address_may_have_a_query() {
        assert!(base_url("http://prometheus.monitoring.svc:9090", true).is_ok());
        assert!(secret_url("https://example.com/hook?token=1").is_ok());
        assert_eq!(
            secret_url("http://example.com/hook").err(),
            Some(AddressProblem::NotEncrypted)
        );
    }
}
