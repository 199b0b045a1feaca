//! The spec of a namespace: an opaque JSON tree of which exactly one field is ever replaced.
//!
//! An update replaces the whole spec. A field that is left out would be switched off (authentication, delete
//! protection), so every field keeps its exact text and position; only the value of `capacitySpec` is
//! replaced.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::capacity::{CapacityMode, CapacitySpec};

/// The spec of a namespace, as received.
#[derive(Debug, Clone, Default)]
pub struct Spec {
    // A list and not a map, because the order must be kept. Raw text, because parsing would change numbers.
    fields: Vec<(String, Box<RawValue>)>,
}

/// The capacity to request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WantedCapacity {
    /// On-demand.
    OnDemand,
    /// This number of TRUs.
    Provisioned(u32),
}

/// Both spellings that the service accepts.
const CAPACITY_FIELD: [&str; 2] = ["capacitySpec", "capacity_spec"];

/// Fields whose order is irrelevant.
const SETS: [&str; 2] = ["connectivityRuleIds", "connectivity_rule_ids"];

impl WantedCapacity {
    fn raw(self) -> Box<RawValue> {
        let json = match self {
            Self::OnDemand => r#"{"onDemand":{}}"#.to_owned(),
            Self::Provisioned(trus) => format!(r#"{{"provisioned":{{"value":{trus}}}}}"#),
        };
        RawValue::from_string(json).expect("JSON of a constant shape")
    }
}

impl Spec {
    /// Parses a spec from JSON.
    ///
    /// # Errors
    ///
    /// Unless the text is one JSON object without duplicate fields.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// Returns the spec as JSON, with every value as it was received.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("raw values are JSON already")
    }

    /// Returns whether the spec has no fields.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Returns the requested capacity. If the field cannot be parsed, the capacity is unknown, not absent.
    pub fn capacity(&self) -> CapacityMode {
        let Some((_, raw)) = self
            .fields
            .iter()
            .find(|(name, _)| CAPACITY_FIELD.contains(&name.as_str()))
        else {
            return CapacityMode::Absent;
        };
        match serde_json::from_str::<Option<CapacitySpec>>(raw.get()) {
            Ok(spec) => spec.unwrap_or_default().0,
            Err(error) => CapacityMode::Unknown(error.to_string()),
        }
    }

    /// Returns the same spec with another capacity. The field keeps its position, or is appended if it was
    /// absent.
    #[must_use]
    pub fn with_capacity(&self, wanted: WantedCapacity) -> Self {
        let mut fields = self.fields.clone();
        match fields
            .iter_mut()
            .find(|(name, _)| CAPACITY_FIELD.contains(&name.as_str()))
        {
            Some((_, value)) => *value = wanted.raw(),
            None => fields.push((CAPACITY_FIELD[0].to_owned(), wanted.raw())),
        }
        Self { fields }
    }

    /// Returns the names of fields, other than the capacity, whose meaning differs.
    ///
    /// Absent, null, false, zero and empty are equal, because the service may or may not print defaults.
    /// Order matters everywhere (the first replica and region is the preferred primary), except in the ids of
    /// connectivity rules.
    pub fn differences_but_for_capacity(&self, other: &Self) -> Vec<String> {
        let names = self
            .fields
            .iter()
            .chain(&other.fields)
            .map(|(name, _)| name.as_str());
        let mut different: Vec<String> = names
            .filter(|name| !CAPACITY_FIELD.contains(name))
            .filter(|name| self.meaning(name) != other.meaning(name))
            .map(str::to_owned)
            .collect();
        different.sort_unstable();
        different.dedup();
        different
    }

    /// Returns a digest of each field other than the capacity, so that two readings can be compared without
    /// storing them.
    pub fn digests(&self) -> SpecDigests {
        let names = self.fields.iter().map(|(name, _)| name.as_str());
        let fields = names
            .filter(|name| !CAPACITY_FIELD.contains(name))
            .filter_map(|name| {
                let text = match self.meaning(name)? {
                    Meaning::Value(value) => value.to_string(),
                    Meaning::Text(text) => text.to_owned(),
                };
                // 64 bits are enough, because digests detect edits and not forgeries. They are in the history
                // of each change.
                let digest = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, text.as_bytes());
                Some((name.to_owned(), digest.simple().to_string()[..16].to_owned()))
            })
            .collect();
        SpecDigests {
            normalizer: NORMALIZER,
            fields,
        }
    }

    fn meaning(&self, name: &str) -> Option<Meaning<'_>> {
        let (_, raw) = self.fields.iter().find(|(field, _)| field == name)?;
        match serde_json::from_str::<Value>(raw.get()) {
            Ok(value) => without_defaults(value).map(|mut value| {
                if let (true, Value::Array(items)) = (SETS.contains(&name), &mut value) {
                    items.sort_by_key(Value::to_string);
                }
                Meaning::Value(value)
            }),
            // The number does not fit any type: compare its text.
            Err(_) => Some(Meaning::Text(raw.get())),
        }
    }
}

/// The version of the rules that normalize fields before they are digested. It increases with every change of
/// those rules, because digests of different versions cannot be compared.
const NORMALIZER: u32 = 1;

/// Digests of the fields of a spec, other than the capacity. Absent fields and fields with default values
/// have none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SpecDigests {
    /// The version of the normalization rules.
    pub normalizer: u32,
    /// A digest for each field with a value other than its default.
    pub fields: BTreeMap<String, String>,
}

/// The difference between a spec and an earlier reading, as sorted field names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SpecDifference {
    /// Fields that changed or were removed.
    pub changed: Vec<String>,
    /// Fields that had their default value before and have another value now.
    pub appeared: Vec<String>,
}

impl SpecDigests {
    /// Returns how a later reading differs, ignoring the fields in `ignored`. Returns `None` if the digests
    /// use rules that this version does not know, so that the difference is unknown.
    pub fn difference(&self, later: &Spec, ignored: &[String]) -> Option<SpecDifference> {
        if self.normalizer != NORMALIZER {
            return None;
        }
        let later = later.digests();
        let counts = |name: &&String| !ignored.contains(name);
        let changed = self
            .fields
            .iter()
            .filter(|(name, digest)| later.fields.get(*name) != Some(digest));
        let appeared = later
            .fields
            .keys()
            .filter(|name| !self.fields.contains_key(*name));
        Some(SpecDifference {
            changed: changed.map(|(name, _)| name).filter(counts).cloned().collect(),
            appeared: appeared.filter(counts).cloned().collect(),
        })
    }
}

#[derive(PartialEq)]
enum Meaning<'a> {
    Value(Value),
    Text(&'a str),
}

/// Removes default values from objects, at every depth. Returns `None` if nothing else is left. Items of
/// arrays stay.
fn without_defaults(value: Value) -> Option<Value> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Number(number) => number_meaning(&number).map(Value::Number),
        Value::String(text) => (!text.is_empty()).then_some(Value::String(text)),
        Value::Array(items) => {
            let items: Vec<Value> = items
                .into_iter()
                // An item that was dropped would move the ones after it, and their order has a meaning.
                .map(|item| without_defaults(item).unwrap_or(Value::Null))
                .collect();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        Value::Object(members) => {
            let members: serde_json::Map<String, Value> = members
                .into_iter()
                .filter_map(|(name, member)| without_defaults(member).map(|member| (name, member)))
                .collect();
            (!members.is_empty()).then_some(Value::Object(members))
        }
        Value::Bool(true) => Some(value),
    }
}

/// Normalizes a number, so that 4 and 4.0 are equal; `None` for 0, which is a default.
fn number_meaning(number: &serde_json::Number) -> Option<serde_json::Number> {
    let float = number.as_f64().unwrap_or_default();
    if float.abs() <= 0.0 {
        return None;
    }
    // Whole numbers that a double cannot represent exactly are compared unchanged.
    if number.is_f64() {
        serde_json::Number::from_f64(float).map(whole)
    } else {
        Some(number.clone())
    }
}

fn whole(number: serde_json::Number) -> serde_json::Number {
    let float = number.as_f64().unwrap_or_default();
    // Above 2^53 (9.007e15), not every whole number is a double.
    if float.fract().abs() > 0.0 || float.abs() > 9e15 {
        return number;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole and below 2^53, as just checked"
    )]
    let integer = float as i64;
    if integer < 0 {
        integer.into()
    } else {
        integer.unsigned_abs().into()
    }
}

impl Serialize for Spec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len()))?;
        for (name, value) in &self.fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Spec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the object of a namespace spec")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Spec, A::Error> {
                let mut fields: Vec<(String, Box<RawValue>)> = Vec::with_capacity(16);
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    let twice = |known: &str| {
                        known == name
                            || (CAPACITY_FIELD.contains(&known) && CAPACITY_FIELD.contains(&name.as_str()))
                    };
                    if fields.iter().any(|(known, _)| twice(known)) {
                        // Which of the two the service applies is unknown, so replacing one of them could
                        // change nothing.
                        return Err(A::Error::custom(format!("the spec contains `{name}` twice")));
                    }
                    fields.push((name, value));
                }
                Ok(Spec { fields })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn spec(json: &str) -> Spec {
        Spec::from_json(json).expect("a spec")
    }

    #[test]
    fn only_the_capacity_is_replaced_and_in_its_place() {
        let before = spec(
            r#"{"name":"pay","capacitySpec":{"onDemand":{}},"future":{"a":1.10,"b":[ 1 ,2]},"z":1e400}"#,
        );
        let after = before.with_capacity(WantedCapacity::Provisioned(6));
        assert_eq!(
            after.to_json(),
            r#"{"name":"pay","capacitySpec":{"provisioned":{"value":6}},"future":{"a":1.10,"b":[ 1 ,2]},"z":1e400}"#
        );
        assert_eq!(
            after.with_capacity(WantedCapacity::OnDemand).capacity(),
            CapacityMode::OnDemand
        );
    }

    #[test]
    fn digests_distinguish_a_changed_field_from_one_that_only_appeared() {
        let before = spec(
            r#"{"name":"pay","mtlsAuth":{"enabled":true},"apiKeyAuth":{"enabled":false},"retentionDays":7}"#,
        );
        let digests = before.digests();
        let difference = |later: &str| digests.difference(&spec(later), &[]).expect("a known normalizer");
        let same = before.with_capacity(WantedCapacity::Provisioned(6));
        assert_eq!(digests.difference(&same, &[]), Some(SpecDifference::default()));
        let changed = difference(r#"{"name":"pay","retentionDays":8,"codec":{"endpoint":"x"}}"#);
        assert_eq!(changed.changed, ["mtlsAuth", "retentionDays"]);
        assert_eq!(changed.appeared, ["codec"]);
        let ignored = digests.difference(
            &spec(r#"{"name":"pay","retentionDays":7}"#),
            &["mtlsAuth".to_owned()],
        );
        assert_eq!(ignored, Some(SpecDifference::default()));
        let newer = SpecDigests {
            normalizer: 99,
            ..digests
        };
        assert_eq!(newer.difference(&before, &[]), None);
    }

    #[test]
    fn digests_of_a_large_spec_stay_small_and_hold_nothing_of_it() {
        let certificate = "MIIC".repeat(50_000);
        let large = spec(&format!(
            r#"{{"name":"pay","mtlsAuth":{{"acceptedClientCa":"{certificate}"}}}}"#
        ));
        let json = serde_json::to_string(&large.digests()).expect("JSON");
        assert!(json.len() < 200 && !json.contains("MIIC"), "{json}");
    }

    #[test]
    fn a_capacity_never_set_is_added() {
        let after = spec(r#"{"name":"pay"}"#).with_capacity(WantedCapacity::OnDemand);
        assert_eq!(
            after.to_json(),
            r#"{"name":"pay","capacitySpec":{"onDemand":{}}}"#
        );
    }

    #[test]
    fn the_old_spelling_is_replaced_not_doubled() {
        let after =
            spec(r#"{"capacity_spec":{"on_demand":{}}}"#).with_capacity(WantedCapacity::Provisioned(2));
        assert_eq!(
            after.to_json(),
            r#"{"capacity_spec":{"provisioned":{"value":2}}}"#
        );
    }

    #[rstest]
    #[case::same_name(r#"{"name":"a","name":"b"}"#)]
    #[case::both_spellings(r#"{"capacitySpec":{},"capacity_spec":{}}"#)]
    #[case::no_object("[1]")]
    #[case::cut(r#"{"name":"a""#)]
    fn a_spec_that_could_be_read_two_ways_is_refused(#[case] json: &str) {
        assert!(Spec::from_json(json).is_err());
    }

    #[rstest]
    #[case::defaults_printed_or_not(r#"{"name":"a","lifecycle":{"enableDeleteProtection":false},"ids":[]}"#, r#"{"name":"a"}"#, &[])]
    #[case::number_forms(r#"{"days":30}"#, r#"{"days":30.0}"#, &[])]
    #[case::rule_ids_are_a_set(r#"{"connectivityRuleIds":["a","b"]}"#, r#"{"connectivityRuleIds":["b","a"]}"#, &[])]
    #[case::the_capacity_may_differ(r#"{"capacitySpec":{"onDemand":{}}}"#, "{}", &[])]
    #[case::order_of_replicas(r#"{"replicas":[{"region":"a"},{"region":"b"}]}"#, r#"{"replicas":[{"region":"b"},{"region":"a"}]}"#, &["replicas"])]
    #[case::auth_lost(r#"{"apiKeyAuth":{"enabled":true},"name":"a"}"#, r#"{"name":"a"}"#, &["apiKeyAuth"])]
    #[case::field_gained(r#"{"name":"a"}"#, r#"{"name":"a","description":"x"}"#, &["description"])]
    #[case::large_numbers_apart("{\"n\":18446744073709551615}", "{\"n\":18446744073709551614}", &["n"])]
    #[case::beyond_every_type("{\"n\":1e400}", "{\"n\":1e401}", &["n"])]
    fn differences_are_detected_by_meaning(
        #[case] before: &str,
        #[case] after: &str,
        #[case] expected: &[&str],
    ) {
        assert_eq!(spec(before).differences_but_for_capacity(&spec(after)), expected);
        assert_eq!(spec(after).differences_but_for_capacity(&spec(before)), expected);
    }

    /// Generates JSON values as text, with numbers in forms that no type preserves.
    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|value| value.to_string()),
            "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
            ".{0,12}".prop_map(|text| serde_json::to_string(&text).expect("a string")),
            Just(r#""\u00e9\ud83d\ude00\/""#.to_owned()),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|items| format!("[{}]", items.join(", "))),
                prop::collection::vec(("[a-z]{1,6}", inner), 0..4).prop_map(|members| {
                    let members: Vec<String> = members
                        .into_iter()
                        .map(|(name, value)| format!("\"{name}\" :{value}"))
                        .collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn everything_but_the_capacity_survives_to_the_byte(
            members in prop::collection::btree_map("[a-z]{1,8}", any_json(), 0..8),
            at in 0_usize..9, had in any::<bool>(), trus in 0_u32..20,
        ) {
            let mut fields: Vec<String> =
                members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let wanted =
                if trus == 0 { WantedCapacity::OnDemand } else { WantedCapacity::Provisioned(trus) };
            let at = if had { at.min(fields.len()) } else { fields.len() };
            let mut expected = fields.clone();
            if had {
                fields.insert(at, r#""capacitySpec":{"provisioned":{"value":3}}"#.to_owned());
            }
            expected.insert(at, format!("\"capacitySpec\":{}", wanted.raw().get()));
            let before = spec(&format!("{{{}}}", fields.join(",")));
            let after = before.with_capacity(wanted);
            prop_assert_eq!(after.to_json(), format!("{{{}}}", expected.join(",")));
            prop_assert_eq!(before.differences_but_for_capacity(&after), Vec::<String>::new());
            let again = spec(&after.to_json());
            prop_assert_eq!(again.differences_but_for_capacity(&before), Vec::<String>::new());
        }
    }
}
