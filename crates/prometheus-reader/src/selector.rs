//! Pure: converts families, namespaces and times to the text of a query.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::Timestamp;

/// The label of the namespace, with or without its account.
pub(crate) const NAMESPACE: &str = "temporal_namespace";
/// The label of the account, if there is one.
pub(crate) const ACCOUNT: &str = "temporal_account";

/// Maximum length of the names in one matcher. Servers limit the length of a query (`VictoriaMetrics`: 16
/// KiB), and a query should also fit into a request line (usually 8 KiB), where `|` and backslashes become
/// three bytes each.
const LONGEST_MATCHER: usize = 3 * 1024;

// Exhaustive: a value without one of these fields has no meaning.
/// The data to read, from `from` (inclusive) to `to` (exclusive).
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// Full names of metric families, without duplicates.
    pub families: &'a [&'a str],
    /// Namespaces, as `name.account` or as a bare `name`, which matches that name in every account. `None`
    /// means all namespaces; an empty list means none.
    pub namespaces: Option<&'a [&'a str]>,
    /// Start of the span (inclusive).
    pub from: Timestamp,
    /// End of the span (exclusive).
    pub to: Timestamp,
}

/// Namespaces that are queried together: the wanted accounts by bare name; `None` is every account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Namespaces {
    wanted: BTreeMap<String, Option<BTreeSet<String>>>,
}

impl Namespaces {
    /// Groups names so that each group fits into one matcher and no series belongs to two groups.
    pub(crate) fn groups(names: &[&str]) -> Vec<Self> {
        let mut all = Self::default();
        for name in names {
            match name.rsplit_once('.') {
                Some((bare, account)) => {
                    let accounts = all
                        .wanted
                        .entry(bare.to_owned())
                        .or_insert_with(|| Some(BTreeSet::new()));
                    // If the bare name was requested as well, every account is wanted already.
                    if let Some(accounts) = accounts {
                        accounts.insert(account.to_owned());
                    }
                }
                None => {
                    all.wanted.insert((*name).to_owned(), None);
                }
            }
        }
        let mut groups: Vec<Self> = Vec::new();
        let mut length = 0;
        for (bare, accounts) in all.wanted {
            // And the `|` before it.
            let own = alternatives(&bare, accounts.as_ref()).len() + 1;
            if groups.is_empty() || length + own > LONGEST_MATCHER {
                groups.push(Self::default());
                length = 0;
            }
            length += own;
            if let Some(group) = groups.last_mut() {
                group.wanted.insert(bare, accounts);
            }
        }
        groups
    }

    /// Returns whether a series belongs to the group, because the matcher also matches a bare name in another
    /// account.
    pub(crate) fn includes(&self, labels: &[(String, String)]) -> bool {
        let value = |name: &str| {
            let label = labels.iter().find(|(label, _)| label == name);
            label.map_or("", |(_, value)| value.as_str())
        };
        let label = value(NAMESPACE);
        let (bare, account) = label.rsplit_once('.').unwrap_or((label, value(ACCOUNT)));
        match self.wanted.get(bare) {
            None => false,
            Some(None) => true,
            // Without an account label, there is only one account.
            Some(Some(accounts)) => account.is_empty() || accounts.contains(account),
        }
    }

    fn matcher(&self) -> String {
        let names = self.wanted.iter();
        names
            .map(|(bare, accounts)| alternatives(bare, accounts.as_ref()))
            .collect::<Vec<_>>()
            .join("|")
    }
}

/// Returns the alternatives of a regular expression that match a namespace in each form that the label may have.
fn alternatives(bare: &str, accounts: Option<&BTreeSet<String>>) -> String {
    let name = escape_regex(bare);
    match accounts {
        // Regular expressions in selectors are anchored at both ends, and account ids have no dot.
        None => format!(r"{name}|{name}\.[^.]*"),
        Some(accounts) => accounts.iter().fold(name.clone(), |mut text, account| {
            let _ = write!(text, r"|{name}\.{}", escape_regex(account));
            text
        }),
    }
}

/// Formats the selector of a family.
pub(crate) fn selector(
    family: &str,
    namespaces: Option<&Namespaces>,
    extra_labels: &[(String, String)],
) -> String {
    let mut text = format!("{family}{{");
    if let Some(namespaces) = namespaces {
        let _ = write!(text, "{NAMESPACE}=~{},", quoted(&namespaces.matcher()));
    }
    for (name, value) in extra_labels {
        let _ = write!(text, "{name}={},", quoted(value));
    }
    if text.ends_with(',') {
        text.pop();
    }
    text.push('}');
    text
}

/// Formats the query for raw samples from `from_ms` (inclusive) to `to_ms` (exclusive), and returns it with
/// its evaluation time.
///
/// A range selector looks back from its end. It always includes its end. It includes its start in Prometheus
/// 2, but not in Prometheus 3 or `VictoriaMetrics`. The requested start is therefore one millisecond early,
/// where no wanted sample can be, and samples there are dropped.
pub(crate) fn range(selector: &str, from_ms: i64, to_ms: i64) -> (String, String) {
    let query = format!("{selector}[{}ms]", to_ms - from_ms);
    (query, seconds(to_ms - 1))
}

/// Formats a time in seconds, exact to the millisecond.
pub(crate) fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();
    format!("{sign}{}.{:03}", ms / 1_000, ms % 1_000)
}

/// Returns the first whole millisecond that is not before a time.
pub(crate) fn ceil_ms(time: Timestamp) -> i64 {
    let floor = time.as_nanosecond().div_euclid(1_000_000);
    let up = i128::from(time.as_nanosecond().rem_euclid(1_000_000) > 0);
    // The limit is far larger than any timestamp in milliseconds.
    i64::try_from(floor + up).unwrap_or(i64::MAX)
}

/// Formats a string of the query language.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn escape_regex(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

pub(crate) fn is_family_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first == b'_' || first == b':' || first.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte == b':' || byte.is_ascii_alphanumeric())
}

pub(crate) fn is_label_name(name: &str) -> bool {
    is_family_name(name) && !name.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_selector_names_namespaces_and_additional_labels() {
        let groups = Namespaces::groups(&["pay.a1", "orders"]);
        let extra = labels(&[("cluster", "e\"u")]);
        assert_eq!(
            selector("actions", groups.first(), &extra),
            r#"actions{temporal_namespace=~"orders|orders\\.[^.]*|pay|pay\\.a1",cluster="e\"u"}"#
        );
        assert_eq!(selector("actions", None, &[]), "actions{}");
    }

    #[rstest]
    #[case::full_name(&["pay.a1"], &[(NAMESPACE, "pay.a1")], true)]
    #[case::full_name_of_another_account(&["pay.a1"], &[(NAMESPACE, "pay.b2")], false)]
    #[case::bare_label_with_the_account(&["pay.a1"], &[(NAMESPACE, "pay"), (ACCOUNT, "a1")], true)]
    #[case::bare_label_with_another_account(&["pay.a1"], &[(NAMESPACE, "pay"), (ACCOUNT, "b2")], false)]
    #[case::bare_label_without_account(&["pay.a1"], &[(NAMESPACE, "pay")], true)]
    #[case::bare_name_takes_every_account(&["pay"], &[(NAMESPACE, "pay.b2")], true)]
    #[case::bare_name_wins_over_a_full_one(&["pay.a1", "pay"], &[(NAMESPACE, "pay.b2")], true)]
    #[case::bare_name_first(&["pay", "pay.a1"], &[(NAMESPACE, "pay.b2")], true)]
    #[case::another_name(&["pay"], &[(NAMESPACE, "payroll.a1")], false)]
    #[case::no_namespace(&["pay"], &[], false)]
    fn a_series_belongs_to_the_namespace_in_its_labels(
        #[case] names: &[&str],
        #[case] series: &[(&str, &str)],
        #[case] expected: bool,
    ) {
        let groups = Namespaces::groups(names);
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].includes(&labels(series)), expected);
    }

    #[test]
    fn many_namespaces_are_queried_in_groups_and_each_once() {
        let names: Vec<String> = (0..2_000)
            .map(|number| format!("namespace-{}.a{}", number / 2, number % 2))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let groups = Namespaces::groups(&names);
        assert!(groups.len() > 1);
        assert!(
            groups
                .iter()
                .all(|group| group.matcher().len() <= LONGEST_MATCHER)
        );
        for name in names {
            let series = labels(&[(NAMESPACE, name)]);
            assert_eq!(groups.iter().filter(|group| group.includes(&series)).count(), 1);
        }
    }

    #[test]
    fn a_range_begins_a_millisecond_early_and_ends_before_its_end() {
        let (query, time) = range("actions{}", 60_000, 120_000);
        assert_eq!((query.as_str(), time.as_str()), ("actions{}[60000ms]", "119.999"));
    }

    #[rstest]
    #[case::whole(1_500, "1.500")]
    #[case::before_1970(-1_500, "-1.500")]
    #[case::less_than_a_second(-1, "-0.001")]
    fn times_are_exact(#[case] ms: i64, #[case] expected: &str) {
        assert_eq!(seconds(ms), expected);
    }

    #[test]
    fn a_part_of_a_millisecond_counts_as_the_next() {
        let time = Timestamp::from_nanosecond(1_500_001).expect("a time");
        assert_eq!(ceil_ms(time), 2);
        assert_eq!(ceil_ms(Timestamp::from_millisecond(-3).expect("a time")), -3);
    }

    proptest! {
        #[test]
        fn a_quoted_string_can_be_parsed_again(text in ".*") {
            let quoted = quoted(&text);
            let inner = &quoted[1..quoted.len() - 1];
            let mut read = String::new();
            let mut chars = inner.chars();
            while let Some(c) = chars.next() {
                match c {
                    '\\' => match chars.next() {
                        Some('n') => read.push('\n'),
                        Some(c) => read.push(c),
                        None => prop_assert!(false, "an escape without end"),
                    },
                    '"' | '\n' => prop_assert!(false, "ends the string"),
                    c => read.push(c),
                }
            }
            prop_assert_eq!(read, text);
        }
    }
}
