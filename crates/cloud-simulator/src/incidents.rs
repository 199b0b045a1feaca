//! Harmful side effects of an update. The service accepts most of them.

use serde_json::Value;

/// A difference that a capacity change must not cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Full id of the namespace.
    pub namespace: String,
    /// Description of the difference.
    pub what: String,
}

/// Returns the differences in fields of a spec, other than the capacity.
pub(crate) fn differences(before: &Value, after: &Value) -> Vec<String> {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else {
        return vec!["the whole spec".to_owned()];
    };
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter(|name| *name != "capacitySpec" && before.get(*name) != after.get(*name))
        .cloned()
        .collect()
}

pub(crate) fn of_update(namespace: &str, before: &Value, after: &Value) -> Vec<Incident> {
    let is_on = |spec: &Value, field: &str| spec[field]["enabled"].as_bool().unwrap_or(false);
    differences(before, after)
        .into_iter()
        .map(|field| {
            let what = match field.as_str() {
                "mtlsAuth" | "apiKeyAuth" if is_on(before, &field) && !is_on(after, &field) => {
                    format!("{field} was switched off: clients are cut off")
                }
                "replicas" | "regions" => format!("{field} changed: a failover may start"),
                _ if after.get(&field).is_none() => format!("{field} was lost"),
                _ => format!("{field} changed"),
            };
            Incident {
                namespace: namespace.to_owned(),
                what,
            }
        })
        .collect()
}

/// Returns a search attribute that an update would delete, which the service rejects.
pub(crate) fn lost_search_attribute<'a>(before: &'a Value, after: &Value) -> Option<&'a str> {
    let known = before["searchAttributes"].as_object()?;
    let mut names = known.keys().map(String::as_str);
    names.find(|name| after["searchAttributes"].get(name).is_none())
}
