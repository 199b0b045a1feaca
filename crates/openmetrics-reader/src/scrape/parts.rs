//! Pure: splits an account into requests that each fit into one response, and splits a part that did not fit
//! again.

// Exhaustive: a value without one of these fields has no meaning.
/// The data to read from an account.
#[derive(Debug, Clone, Copy)]
pub struct AccountQuery<'a> {
    /// The families, each with an estimate of its points per namespace.
    pub families: &'a [FamilyQuery<'a>],
    /// The bare names of the namespaces, sorted.
    pub namespaces: &'a [&'a str],
    /// Whether to read only these namespaces. Otherwise, they are all known ones, and the response may
    /// contain more.
    pub only_these: bool,
}

// Exhaustive: a value without one of these fields has no meaning.
/// A family to read.
#[derive(Debug, Clone, Copy)]
pub struct FamilyQuery<'a> {
    /// Full name of the family.
    pub name: &'a str,
    /// Estimated average number of points per namespace, which may be below one. A wrong estimate costs one
    /// request and nothing else.
    pub points_per_namespace: f64,
    /// Whether the family is a rate, whose points belong to the minute itself. Other values are the latest
    /// within a look-back window and may be older, so they do not show which minute a response is for.
    pub is_rate: bool,
}

impl FamilyQuery<'_> {
    /// Returns the estimated number of points of this family for some namespaces, at least one.
    pub fn points_of(&self, namespaces: usize) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a guess: casts saturate, and no account has 2^53 namespaces"
        )]
        let points = (self.points_per_namespace * namespaces as f64).ceil() as usize;
        points.max(1)
    }
}

/// One request: some families of some namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) families: Vec<&'a str>,
    /// Wildcards; empty means all namespaces.
    pub(super) namespaces: Vec<String>,
}

/// Maximum length of a filter in bytes: proxies reject request lines somewhere above 8,000.
const LONGEST_FILTER: usize = 6_000;

/// Returns the share of a response that is planned to be filled, because estimates are never exact.
fn usable(points_per_answer: usize) -> usize {
    points_per_answer / 100 * 95
}

/// Splits an account into as few requests as its expected size allows.
pub(super) fn plan<'a>(query: &AccountQuery<'a>, points_per_answer: usize) -> Vec<Part<'a>> {
    let usable = usable(points_per_answer).max(1);
    if query.only_these {
        return of_these(query, usable);
    }
    let count = query.namespaces.len().max(1);
    let mut weighed: Vec<(usize, &str)> = query
        .families
        .iter()
        .map(|family| (family.points_of(count), family.name))
        .collect();
    // The largest first, so that each one goes where it still fits.
    weighed.sort_by(|one, other| other.cmp(one));
    let mut bins: Vec<(usize, Part<'a>)> = Vec::new();
    let mut cut = Vec::new();
    for (points, family) in weighed {
        // One family that does not fit is split by namespaces. Otherwise it shares a request with other
        // families.
        if points > usable {
            let per_group = usable * count / points;
            cut.extend(
                groups(query.namespaces, per_group.max(1))
                    .into_iter()
                    .map(|namespaces| Part {
                        families: vec![family],
                        namespaces,
                    }),
            );
        } else if let Some((filled, part)) = bins.iter_mut().find(|(filled, _)| filled + points <= usable) {
            *filled += points;
            part.families.push(family);
        } else {
            bins.push((
                points,
                Part {
                    families: vec![family],
                    namespaces: Vec::new(),
                },
            ));
        }
    }
    bins.into_iter().map(|(_, part)| part).chain(cut).collect()
}

fn of_these<'a>(query: &AccountQuery<'a>, usable: usize) -> Vec<Part<'a>> {
    let points: f64 = query
        .families
        .iter()
        .map(|family| family.points_per_namespace)
        .sum();
    let whole = FamilyQuery {
        name: "",
        points_per_namespace: points,
        is_rate: false,
    };
    // All families go into each request, so that a namespace is read once and for one minute.
    let largest = usable / whole.points_of(1);
    let families: Vec<&str> = query.families.iter().map(|family| family.name).collect();
    // With a wildcard, because it is not documented whether the endpoint compares names or full ids.
    let patterns = query.namespaces.iter().map(|name| (format!("{name}*"), 1));
    let groups = packed(patterns, largest.max(1));
    groups
        .into_iter()
        .map(|namespaces| Part {
            families: families.clone(),
            namespaces,
        })
        .collect()
}

/// Splits a part that did not fit into one response: its families into three parts of about the same size, or
/// the namespaces of a single family into two. Returns nothing if it cannot be split.
pub(super) fn narrowed<'a>(part: &Part<'a>, query: &AccountQuery<'a>) -> Option<Vec<Part<'a>>> {
    if part.families.len() > 1 {
        return Some(by_families(part, query));
    }
    let names = query.namespaces;
    let patterns = match part.namespaces.as_slice() {
        [] => prefixes(names, "", (names.len() / 2).max(1)),
        [only] => {
            let prefix = only.trim_end_matches('*');
            let matching: Vec<&str> = names
                .iter()
                .copied()
                .filter(|name| name.starts_with(prefix))
                .collect();
            prefixes(&matching, prefix, (matching.len() / 2).max(1))
        }
        several => several.iter().map(|pattern| (pattern.clone(), 1)).collect(),
    };
    if patterns.len() < 2 {
        return None;
    }
    let patterns: Vec<String> = patterns.into_iter().map(|(pattern, _)| pattern).collect();
    let (one, other) = patterns.split_at(patterns.len() / 2);
    let halves = [one, other].map(|namespaces| Part {
        namespaces: namespaces.to_vec(),
        ..part.clone()
    });
    Some(halves.into())
}

/// Puts each family, the largest first, into the smallest part. Few requests then show which family was too
/// large.
fn by_families<'a>(part: &Part<'a>, query: &AccountQuery<'a>) -> Vec<Part<'a>> {
    let points = |name: &str| {
        let mut families = query.families.iter();
        let family = families.find(|family| family.name == name);
        family.map_or(1, |family| family.points_of(query.namespaces.len().max(1)))
    };
    let mut weighed: Vec<(usize, &'a str)> = part.families.iter().map(|name| (points(name), *name)).collect();
    weighed.sort_by(|one, other| other.cmp(one));
    let mut bins: Vec<(usize, Vec<&'a str>)> = vec![(0, Vec::new()); weighed.len().min(3)];
    for (points, family) in weighed {
        if let Some((filled, families)) = bins.iter_mut().min_by_key(|(filled, _)| *filled) {
            *filled += points;
            families.push(family);
        }
    }
    bins.into_iter()
        .map(|(_, families)| Part {
            families,
            ..part.clone()
        })
        .collect()
}

/// Returns groups of wildcards that together match every name once, with about `largest` names per group.
fn groups(names: &[&str], largest: usize) -> Vec<Vec<String>> {
    packed(prefixes(names, "", largest), largest)
}

fn packed(patterns: impl IntoIterator<Item = (String, usize)>, largest: usize) -> Vec<Vec<String>> {
    const KEY: usize = "&namespaces=".len();
    let mut groups: Vec<Vec<String>> = Vec::new();
    let (mut names, mut bytes) = (0, 0);
    for (pattern, count) in patterns {
        let length = KEY + pattern.len() + 2; // `*` is sent as three bytes
        let fits = names + count <= largest && bytes + length <= LONGEST_FILTER;
        if !fits || groups.is_empty() {
            groups.push(Vec::new());
            (names, bytes) = (0, 0);
        }
        names += count;
        bytes += length;
        if let Some(group) = groups.last_mut() {
            group.push(pattern);
        }
    }
    groups
}

/// Returns prefix wildcards that together match every name exactly once, each at most `largest` names (unless
/// a name is the prefix of too many others to be separated by a longer prefix).
fn prefixes(names: &[&str], prefix: &str, largest: usize) -> Vec<(String, usize)> {
    let mut patterns = Vec::new();
    let mut rest = names;
    while let Some(first) = rest.first() {
        let Some(next) = first[prefix.len()..].chars().next() else {
            // The prefix is itself a name. No wildcard separates it from the names that begin with it.
            // Without a wildcard, it would not match if the endpoint compares full ids, in which a dot
            // follows the name.
            patterns.push((format!("{prefix}*"), rest.len()));
            return patterns;
        };
        let longer = format!("{prefix}{next}");
        // Names are sorted, so those with the same prefix are adjacent.
        let end = rest.partition_point(|name| name.starts_with(&longer) || **name < *longer);
        let (matching, others) = rest.split_at(end);
        if matching.len() <= largest {
            patterns.push((format!("{longer}*"), matching.len()));
        } else {
            patterns.extend(prefixes(matching, &longer, largest));
        }
        rest = others;
    }
    patterns
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    fn family(name: &str, points_per_namespace: f64) -> FamilyQuery<'_> {
        FamilyQuery {
            name,
            points_per_namespace,
            is_rate: true,
        }
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("team-{number:05}")).collect()
    }

    fn borrowed(names: &[String]) -> Vec<&str> {
        names.iter().map(String::as_str).collect()
    }

    #[test]
    fn a_small_account_takes_one_request() {
        let names = names(100);
        let families = [family("a", 40.0), family("b", 40.0), family("c", 2.0)];
        let query = AccountQuery {
            families: &families,
            namespaces: &borrowed(&names),
            only_these: false,
        };
        assert_eq!(plan(&query, 30_000).len(), 1);
    }

    #[test]
    fn families_that_do_not_fit_together_are_read_apart() {
        let names = names(10_000);
        let families = [
            family("a", 2.0),
            family("b", 1.0),
            family("c", 1.0),
            family("d", 1.0),
            family("e", 1.0),
        ];
        let query = AccountQuery {
            families: &families,
            namespaces: &borrowed(&names),
            only_these: false,
        };
        let parts = plan(&query, 30_000);
        assert_eq!(parts.len(), 3, "{parts:?}");
        assert!(parts.iter().all(|part| part.namespaces.is_empty()));
    }

    #[test]
    fn a_family_that_does_not_fit_alone_is_cut_by_wildcards() {
        let names = names(1_000);
        let families = [family("a", 40.0)];
        let query = AccountQuery {
            families: &families,
            namespaces: &borrowed(&names),
            only_these: false,
        };
        let parts = plan(&query, 30_000);
        assert_eq!(parts.len(), 2, "{parts:?}");
    }

    fn matches(pattern: &str, name: &str) -> bool {
        pattern
            .strip_suffix('*')
            .map_or(pattern == name, |prefix| name.starts_with(prefix))
    }

    /// Counts how often each family of each name is read.
    fn coverage<'a>(parts: &[Part<'a>], names: &'a [String]) -> BTreeMap<(&'a str, &'a str), usize> {
        let mut coverage = BTreeMap::new();
        for part in parts {
            for name in names {
                let asked = part.namespaces.is_empty()
                    || part.namespaces.iter().any(|pattern| matches(pattern, name));
                for family in part.families.iter().filter(|_| asked) {
                    *coverage.entry((*family, name.as_str())).or_default() += 1;
                }
            }
        }
        coverage
    }

    proptest! {
        #[test]
        fn every_family_of_every_namespace_is_read_exactly_once(
            names in prop::collection::btree_set("[ab][a-c-]{0,5}[ab]", 1..60),
            weights in prop::collection::vec(1_u16..60, 1..6),
            points in 100_usize..2_000,
            cut in 0_usize..4,
        ) {
            let names: Vec<String> = names.into_iter().collect();
            let labels = ["f0", "f1", "f2", "f3", "f4", "f5"];
            let families: Vec<FamilyQuery<'_>> =
                weights.iter().zip(labels).map(|(weight, name)| family(name, f64::from(*weight))).collect();
            let namespaces = borrowed(&names);
            let query = AccountQuery { families: &families, namespaces: &namespaces, only_these: false };
            let mut parts = plan(&query, points);
            for _ in 0..cut {
                // Like a truncated response: the first part that can be split is split.
                let Some(number) = parts.iter().position(|part| narrowed(part, &query).is_some()) else { break };
                let part = parts.remove(number);
                parts.extend(narrowed(&part, &query).expect("just seen"));
            }
            let coverage = coverage(&parts, &names);
            prop_assert_eq!(coverage.len(), names.len() * families.len());
            prop_assert!(coverage.values().all(|count| *count == 1), "{:?}", coverage);
        }

        #[test]
        fn only_the_named_are_read_and_filters_stay_short(
            names in prop::collection::btree_set("[a-z][a-z0-9-]{1,37}[a-z]", 1..400),
            weight in 1_u16..100,
        ) {
            let names: Vec<String> = names.into_iter().collect();
            let families = [family("f0", f64::from(weight))];
            let query = AccountQuery { families: &families, namespaces: &borrowed(&names), only_these: true };
            let parts = plan(&query, 30_000);
            for part in &parts {
                prop_assert!(!part.namespaces.is_empty());
                let bytes: usize = part.namespaces.iter().map(|pattern| pattern.len() + 14).sum();
                prop_assert!(bytes <= LONGEST_FILTER + 60);
            }
            let asked: usize = parts.iter().map(|part| part.namespaces.len()).sum();
            prop_assert_eq!(asked, names.len());
        }
    }
}
