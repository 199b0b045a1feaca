//! Parses the address of a PostgreSQL database strictly, so that a password with an unescaped `/`, `?`, `#`
//! or `@` never becomes part of a host, a database name or a message.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

use crate::problem::Problem;

/// Parameters that are passed on to the connection.
const PASSED_ON: [&str; 16] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

const SSL_MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// Parameters of other clients, and why they are rejected. It is safe to repeat their names in a message.
const REFUSED: [(&str, &str); 9] = [
    ("sslpassword", "use a client key without a passphrase"),
    ("passfile", "set the environment variable PGPASSFILE"),
    ("service", "specify host, user and database"),
    ("channel_binding", "remove it"),
    ("target_session_attrs", "specify the one host that accepts writes"),
    ("connect_timeout", "remove it; the timeout is always 5 seconds"),
    ("pgbouncer", "remove it; PgBouncer works without it"),
    ("schema", "use options=-c%20search_path%3DSCHEMA"),
    ("sslcrl", "remove it"),
];

const ESCAPE: &str =
    "in a user name or password write `/` as %2F, `?` as %3F, `#` as %23, `@` as %40 and `%` as %25";

/// An address. Its displayed form has no user, password or parameters.
pub(crate) struct Address<'a> {
    user: Option<Cow<'a, str>>,
    password: Option<Cow<'a, str>>,
    host: Option<Cow<'a, str>>,
    port: Option<u16>,
    database: Option<Cow<'a, str>>,
    /// Parameters other than `host`, `hostaddr`, `dbname`, `user` and `password`, which have their own
    /// fields.
    parameters: Vec<(&'a str, Cow<'a, str>)>,
}

impl<'a> Address<'a> {
    /// Parses the part after the scheme.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Problem> {
        if text.contains('#') {
            return Err(format!("it contains a `#`: {ESCAPE}").into());
        }
        let end = text.find(['/', '?']).unwrap_or(text.len());
        let (authority, rest) = text.split_at(end);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if path.contains('@') {
            return Err(format!("it has an `@` after the host: {ESCAPE}").into());
        }
        // The last one: a password may contain an `@` that was not escaped.
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let (user, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
            Some((user, password)) => (non_empty(decoded(user)?), non_empty(decoded(password)?)),
            None => (None, None),
        };
        let (host, port) = host_and_port(place)?;
        let mut address = Self {
            user,
            password,
            host,
            port,
            database: non_empty(decoded(path.trim_start_matches('/'))?),
            parameters: Vec::new(),
        };
        for parameter in query.split('&').filter(|it| !it.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            // A `?` in a password looks like the beginning of parameters. No name is repeated in that case.
            let is_doubtful = query
                .rsplit_once('@')
                .is_some_and(|(before, _)| !is_value_of_known(before));
            address.add(name, decoded(value)?, is_doubtful)?;
        }
        Ok(address)
    }

    fn add(&mut self, name: &'a str, value: Cow<'a, str>, is_doubtful: bool) -> Result<(), Problem> {
        let is_option = name.starts_with("options[") && name.ends_with(']');
        match name {
            "host" | "hostaddr" if value.starts_with('/') || is_host(&value) => self.host = Some(value),
            "host" | "hostaddr" => return Err("its `host` parameter is empty or not supported".into()),
            "port" => self.port = Some(port(&value)?),
            "dbname" => self.database = Some(value),
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "sslmode" | "ssl-mode" if !SSL_MODES.contains(&value.to_ascii_lowercase().as_str()) => {
                return Err(format!("its `sslmode` is unknown: use {}", SSL_MODES.join(", ")).into());
            }
            // Statements are never cached, so any capacity works.
            "statement-cache-capacity" => {}
            _ if PASSED_ON.contains(&name) || is_option => self.parameters.push((name, value)),
            _ => {
                let known = REFUSED.iter().find(|(refused, _)| *refused == name);
                let problem = match known {
                    Some((name, remedy)) => format!("its parameter `{name}` is not supported: {remedy}"),
                    None if is_doubtful || !is_word(name) => format!("it has an unknown parameter; {ESCAPE}"),
                    None => format!("its parameter `{name}` is unknown: remove it"),
                };
                return Err(problem.into());
            }
        }
        Ok(())
    }

    /// Returns the options of a connection. Missing values come from the environment (`PGHOST`, `PGUSER` ...)
    /// and the password file, as in every PostgreSQL client.
    pub(crate) fn options(&self) -> Result<PgConnectOptions, sqlx::Error> {
        let database = self.database.as_deref().map(encoded).unwrap_or_default();
        let port = self.port.map(|port| port.to_string());
        let own = [
            ("user", self.user.as_deref()),
            ("password", self.password.as_deref()),
            ("host", self.host.as_deref()),
            ("port", port.as_deref()),
        ];
        let own = own.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        let others = self.parameters.iter().map(|(name, value)| (*name, &**value));
        let parameters: Vec<String> = own
            .chain(others)
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        // Assembled from parsed parts: the library would split the original text by other rules.
        let url = format!("postgres:///{database}?{}", parameters.join("&"));
        // The library logs lines of a password file that it cannot parse.
        let silence = tracing::subscriber::NoSubscriber::default();
        let options = tracing::subscriber::with_default(silence, || PgConnectOptions::from_str(&url))?;
        // A pooler rejects startup parameters that it does not know. This one is not needed, because no column is a float.
        Ok(options.extra_float_digits(None))
    }
}

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        match self.host.as_deref() {
            Some(host) if host.contains(':') => write!(f, "[{host}]")?,
            Some(host) => f.write_str(host)?,
            None => {}
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "/{}", self.database.as_deref().unwrap_or_default())
    }
}

fn host_and_port(place: &str) -> Result<(Option<Cow<'_, str>>, Option<u16>), Problem> {
    if let Some(bracketed) = place.strip_prefix('[') {
        let (host, rest) = bracketed
            .split_once(']')
            .ok_or("the IPv6 address has no closing `]`")?;
        let host = decoded(host)?;
        if !host.contains(':') {
            return Err("only IPv6 addresses go in brackets".into());
        }
        let given = rest.strip_prefix(':').map(port).transpose()?;
        return if rest.is_empty() || given.is_some() {
            Ok((Some(host), given))
        } else {
            Err("its port is not a number from 1 to 65535".into())
        };
    }
    if place.contains(',') {
        return Err("it contains several hosts: specify only the one that accepts writes".into());
    }
    let (host, given) = match place.split_once(':') {
        Some((_, rest)) if rest.contains(':') => {
            return Err("put an IPv6 address in brackets, such as [::1]:5432".into());
        }
        Some((host, given)) => (host, Some(port(given)?)),
        None => (place, None),
    };
    let host = decoded(host)?;
    if host.is_empty() || host.starts_with('/') || is_host(&host) {
        Ok((non_empty(host), given))
    } else {
        Err(format!("its host contains invalid characters: {ESCAPE}").into())
    }
}

/// Parses a port. The text may be part of a password, so errors do not repeat it.
fn port(text: &str) -> Result<u16, Problem> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("its port is not a number from 1 to 65535; {ESCAPE}").into())
}

fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|it| it.is_alphanumeric() || matches!(it, '.' | '-' | '_' | ':' | '%'))
}

fn is_word(text: &str) -> bool {
    text.len() <= 40
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'-'))
}

/// Returns whether the text ends within the value of a known parameter.
fn is_value_of_known(text: &str) -> bool {
    let last = text.rsplit('&').next().unwrap_or_default();
    last.split_once('=')
        .is_some_and(|(name, _)| PASSED_ON.contains(&name))
}

fn non_empty(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    Some(text).filter(|text| !text.is_empty())
}

/// Decodes `%2F` and the like. A `%` that does not begin an escape is kept.
fn decoded(text: &str) -> Result<Cow<'_, str>, Problem> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut left = text.as_bytes();
    while let Some((first, rest)) = left.split_first() {
        let digits = rest.get(..2).filter(|_| *first == b'%');
        let byte = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        left = if byte.is_some() { &rest[2..] } else { rest };
    }
    let text =
        String::from_utf8(bytes).map_err(|_| format!("its escaped characters are not UTF-8; {ESCAPE}"))?;
    Ok(Cow::Owned(text))
}

fn encoded(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn all_of(text: &str) -> [String; 5] {
        let it = Address::parse(text).expect("an address");
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().unwrap_or("-").to_owned();
        let port = it.port.map_or("-".to_owned(), |port| port.to_string());
        [
            text(&it.user),
            text(&it.password),
            text(&it.host),
            port,
            text(&it.database),
        ]
    }

    #[rstest]
    #[case("me:s3cret@db:5432/capacity", ["me", "s3cret", "db", "5432", "capacity"])]
    #[case("db/capacity", ["-", "-", "db", "-", "capacity"])]
    #[case("me@/capacity?host=/run/postgresql", ["me", "-", "/run/postgresql", "-", "capacity"])]
    #[case("me:s3cret@[::1]:5432/capacity", ["me", "s3cret", "::1", "5432", "capacity"])]
    #[case("me:s3cret@[fe80::1%25eth0]/c", ["me", "s3cret", "fe80::1%eth0", "-", "c"])]
    #[case("me:p%40ss%2Fw%23r%3Fd@db/c", ["me", "p@ss/w#r?d", "db", "-", "c"])]
    #[case("me:p@ss:w+rd@db/c", ["me", "p@ss:w+rd", "db", "-", "c"])]
    #[case("me:100%@db/c", ["me", "100%", "db", "-", "c"])]
    #[case("db:5432/c?user=me&password=a@b&sslmode=disable", ["me", "a@b", "db", "5432", "c"])]
    #[case("db/c?user=me&password=a@b", ["me", "a@b", "db", "-", "c"])]
    #[case("db/c?user=me&password=a+b%26c&port=6432", ["me", "a+b&c", "db", "6432", "c"])]
    fn every_part_is_read(#[case] text: &str, #[case] expected: [&str; 5]) {
        assert_eq!(all_of(text), expected);
        let options = Address::parse(text)
            .expect("an address")
            .options()
            .expect("options");
        if expected[0] != "-" {
            assert_eq!(options.get_username(), expected[0]);
        }
        assert_eq!(options.get_database(), Some(expected[4]));
        match options.get_socket() {
            Some(socket) => assert_eq!(socket.to_str(), Some(expected[2])),
            None => assert_eq!(options.get_host(), expected[2]),
        }
    }

    #[rstest]
    #[case::slash_in_the_password("me:s3cret/word@db/c", "%2F")]
    #[case::slash_after_an_at("me:s3@cret/word@db/c", "%2F")]
    #[case::hash_in_the_password("me:12#s3cret@db/c", "%23")]
    #[case::question_mark_in_the_password("me:12?s3cret@db/c", "%3F")]
    #[case::question_mark_and_equals("me:a@b?s3cret=x@db/c", "%3F")]
    #[case::no_host("me:s3cret/c", "its port is not a number")]
    #[case::no_port("db:s3cret/c", "its port is not a number")]
    #[case::ipv6_without_brackets("me:s3cret@::1/c", "in brackets, such as [::1]:5432")]
    #[case::open_bracket("me:s3cret@[::1/c", "has no closing `]`")]
    #[case::hosts("me:s3cret@a,b/c", "several hosts")]
    #[case::key_with_a_passphrase("me@db/c?sslpassword=s3cret", "`sslpassword` is not supported")]
    #[case::unknown("me@db/c?sslmodes=s3cret", "`sslmodes` is unknown")]
    #[case::unknown_and_strange("me@db/c?S3CRET=1", "an unknown parameter")]
    #[case::ssl_mode("me@db/c?sslmode=s3cret", "verify-full")]
    #[case::not_utf8("me:%ff%fe@db/c", "not UTF-8")]
    fn ambiguous_addresses_are_refused_without_repeating_them(#[case] text: &str, #[case] why: &str) {
        let Err(problem) = Address::parse(text) else {
            panic!("{text} was accepted");
        };
        let problem = problem.to_string();
        assert!(problem.contains(why), "{problem}");
        assert!(!problem.to_lowercase().contains("s3cret"), "{problem}");
    }
}
