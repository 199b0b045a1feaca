//! The setting for automatic index creation in a search cluster, and how to exclude one index from it.

use std::collections::BTreeMap;

use serde_json::Value;

/// Cluster setting that enables automatic index creation, with guessed types.
pub(super) const CREATES_BY_ITSELF: &str = "action.auto_create_index";

/// The values of this setting, each of which overrides the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Automatic {
    /// Value until the cluster restarts.
    pub transient: Option<String>,
    /// Value that survives a restart of the cluster.
    pub persistent: Option<String>,
    /// Value in the configuration file of the nodes, or the built-in default.
    pub default: Option<String>,
}

impl Automatic {
    pub(super) fn read(settings: &Value) -> Self {
        let value = |place: &str| {
            let value = &settings[place][CREATES_BY_ITSELF];
            value.as_str().map(str::to_owned)
        };
        Self {
            transient: value("transient"),
            persistent: value("persistent"),
            default: value("defaults"),
        }
    }

    /// Returns the values to set so that this index is never created automatically; empty if no change is
    /// needed. Values for other indexes are kept.
    pub fn without(&self, index: &str) -> BTreeMap<&'static str, String> {
        let kept = self.persistent.as_ref().or(self.default.as_ref());
        // Without a value, the cluster creates every index.
        let kept = kept.map_or("true", String::as_str);
        let mut changes = BTreeMap::new();
        // A transient value overrides the persistent one until the cluster restarts, so both need the
        // exclusion.
        for (place, value) in [
            ("persistent", Some(kept)),
            ("transient", self.transient.as_deref()),
        ] {
            if let Some(value) = value.filter(|value| is_created(value, index)) {
                // `true` is not allowed in a list of patterns.
                let others = if value.trim() == "true" { "+*" } else { value };
                // At the front, because the first match applies.
                changes.insert(place, format!("-{index},{others}"));
            }
        }
        changes
    }
}

/// Returns whether a value of the setting allows the cluster to create an index: `true`, `false`, or
/// patterns, of which the first match applies.
fn is_created(value: &str, index: &str) -> bool {
    match value.trim() {
        "true" => true,
        "false" => false,
        patterns => {
            let first = patterns.split(',').map(str::trim).find_map(|pattern| {
                let (is_created, pattern) = match pattern.strip_prefix('-') {
                    Some(pattern) => (false, pattern),
                    None => (true, pattern.strip_prefix('+').unwrap_or(pattern)),
                };
                matches(pattern, index).then_some(is_created)
            });
            first.unwrap_or(false)
        }
    }
}

/// Returns whether a name matches a pattern, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(name) = name.strip_prefix(head) else {
        return false;
    };
    (0..=name.len())
        .filter(|at| name.is_char_boundary(*at))
        .any(|at| matches(rest, &name[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const INDEX: &str = "temporal_visibility_v1";

    #[rstest]
    #[case::nothing_is_set(None, None, None, &[("persistent", "-temporal_visibility_v1,+*")])]
    #[case::every_index(None, Some("true"), None, &[("persistent", "-temporal_visibility_v1,+*")])]
    #[case::none(None, Some("false"), Some("true"), &[])]
    #[case::none_in_the_file_of_the_nodes(None, None, Some("false"), &[])]
    #[case::done(None, Some("-temporal_visibility_v1,+*"), Some("true"), &[])]
    #[case::others_of_the_file_are_kept(
        None,
        None,
        Some("-secret*,+*"),
        &[("persistent", "-temporal_visibility_v1,-secret*,+*")]
    )]
    #[case::others_are_kept(
        None,
        Some("-secret*,+logs-*,+temporal*"),
        Some("true"),
        &[("persistent", "-temporal_visibility_v1,-secret*,+logs-*,+temporal*")]
    )]
    #[case::only_others(None, Some("+logs-*"), Some("true"), &[])]
    #[case::excluded_by_a_pattern(None, Some("-temporal*,+*"), Some("true"), &[])]
    #[case::excluded_too_late(
        None,
        Some("*,-temporal_visibility_v1"),
        None,
        &[("persistent", "-temporal_visibility_v1,*,-temporal_visibility_v1")]
    )]
    #[case::until_the_next_restart(
        Some("true"),
        Some("false"),
        None,
        &[("transient", "-temporal_visibility_v1,+*")]
    )]
    fn only_our_index_is_excluded_from_automatic_creation(
        #[case] transient: Option<&str>,
        #[case] persistent: Option<&str>,
        #[case] default: Option<&str>,
        #[case] expected: &[(&'static str, &str)],
    ) {
        let own = |value: Option<&str>| value.map(str::to_owned);
        let mut automatic = Automatic {
            transient: own(transient),
            persistent: own(persistent),
            default: own(default),
        };
        let changes = automatic.without(INDEX);
        let expected = expected
            .iter()
            .map(|(place, value)| (*place, (*value).to_owned()));
        assert_eq!(changes, expected.collect());
        for (place, value) in changes {
            let field = if place == "persistent" {
                &mut automatic.persistent
            } else {
                &mut automatic.transient
            };
            *field = Some(value);
        }
        assert_eq!(
            automatic.without(INDEX),
            BTreeMap::new(),
            "an excluded index needs no further change"
        );
    }

    #[rstest]
    #[case("*", "temporal", true)]
    #[case("temp*", "temporal", true)]
    #[case("*ral", "temporal", true)]
    #[case("t*p*l", "temporal", true)]
    #[case("temporal", "temporal", true)]
    #[case("temporal*", "temporal", true)]
    #[case("temporal", "temporal_visibility", false)]
    #[case("log*", "temporal", false)]
    fn a_pattern_matches_names(#[case] pattern: &str, #[case] name: &str, #[case] expected: bool) {
        assert_eq!(matches(pattern, name), expected);
    }
}
