//! Sets up visibility in `OpenSearch` or Elasticsearch instead of PostgreSQL: first the cluster settings,
//! then the template, then the index.
//!
//! The order matters: an index that is created before its template, or automatically by the cluster, has
//! fields of the wrong types, which breaks sorting. Pure code decides what to do with the
//! existing state. An index is never deleted.

mod automatic;
mod request;

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::{Value, json};

pub use self::automatic::Automatic;
use self::automatic::CREATES_BY_ITSELF;
pub use self::request::SearchError;
use self::request::{call, refused, said};
use crate::place::{Place, Stack, write_whole};
use crate::settings::{Namespace, Search};
use crate::{programs, tell};

/// The state of a search cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// Product and version of the cluster, such as `OpenSearch 2.19.6`.
    pub product: String,
    /// Health: `green`, `yellow` or `red`; empty if unknown.
    pub status: String,
    /// Setting for automatic index creation.
    pub automatic: Automatic,
    /// Field types in the template, if it exists.
    pub template: Option<BTreeMap<String, String>>,
    /// Field types in the index, if it exists.
    pub index: Option<BTreeMap<String, String>>,
    /// Number of records in the index.
    pub records: u64,
}

/// An index that Temporal cannot use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the index has fields of the wrong types ({}): it was created without the template, and lists cannot be sorted. Set another \
     search.index, or reindex it; nothing was changed",
    .0.join(", ")
)]
pub struct WrongTypes(pub Vec<String>);

/// A step of the set-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Prevent automatic creation of this index: the value to set, by scope of the setting.
    Settings(BTreeMap<&'static str, String>),
    /// Create the template for the server's version.
    Template,
    /// Create the index.
    Index,
    /// Add these fields to the index.
    Fields(Vec<String>),
}

impl std::fmt::Display for Step {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Settings(_) => formatter.write_str(CREATES_BY_ITSELF),
            Self::Template => formatter.write_str("the template"),
            Self::Index => formatter.write_str("the index"),
            Self::Fields(fields) => write!(formatter, "the fields {}", fields.join(", ")),
        }
    }
}

/// Returns the missing steps in order.
///
/// # Errors
///
/// If the index has a field of a different type than the server needs.
pub fn judge(found: &Found, index: &str, template: &Value) -> Result<Vec<Step>, WrongTypes> {
    let wanted = types(&template["mappings"]["properties"]);
    let mut steps = Vec::new();
    let changes = found.automatic.without(index);
    if !changes.is_empty() {
        steps.push(Step::Settings(changes));
    }
    if found.template.as_ref() != Some(&wanted) {
        steps.push(Step::Template);
    }
    let Some(index) = &found.index else {
        steps.push(Step::Index);
        return Ok(steps);
    };
    let wrong: Vec<String> = wanted
        .iter()
        .filter_map(|(field, kind)| {
            let is = index.get(field).filter(|is| *is != kind)?;
            Some(format!("{field} is {is} instead of {kind}"))
        })
        .collect();
    if !wrong.is_empty() {
        return Err(WrongTypes(wrong));
    }
    let missing: Vec<String> = wanted
        .keys()
        .filter(|field| !index.contains_key(*field))
        .cloned()
        .collect();
    if !missing.is_empty() {
        steps.push(Step::Fields(missing));
    }
    Ok(steps)
}

fn types(properties: &Value) -> BTreeMap<String, String> {
    let fields = properties.as_object().into_iter().flatten();
    fields
        .map(|(field, mapping)| {
            // Clusters omit the type of an object.
            let kind = mapping["type"].as_str().unwrap_or("object");
            (field.clone(), kind.to_owned())
        })
        .collect()
}

/// Sets up the missing parts. Does nothing if visibility is in PostgreSQL.
///
/// # Errors
///
/// If the cluster does not respond, is not supported by Temporal, or has an index with fields of the wrong types.
pub fn apply(place: &Place, stack: &Stack) -> anyhow::Result<()> {
    let search = &stack.settings.search;
    let Some(url) = &search.url else {
        return Ok(());
    };
    let mut template = programs::search_template(&stack.settings.server.version)?;
    add_attributes(&mut template, &stack.settings.namespaces);
    let at = |error: SearchError| anyhow::anyhow!("search.url = \"{url}\": {error}");
    let judged = || -> anyhow::Result<Vec<Step>> {
        let found = look(place, search).map_err(at)?;
        judge(&found, &search.index, &template)
            .with_context(|| format!("{} at {url}, index {}", found.product, search.index))
    };
    let put = |path: &str, body: &Value| match call(place, search, "PUT", path, Some(body)).map_err(at)? {
        (200..300, _) => Ok(()),
        (status, answer) => Err(at(SearchError::Refused {
            request: format!("PUT {path}"),
            status,
            said: said(&answer),
        })),
    };
    let steps = judged()?;
    let has_steps = !steps.is_empty();
    for step in steps {
        match step {
            Step::Settings(changes) => {
                let mut body = json!({});
                for (place, value) in changes {
                    tell(&format!(
                        "{url}: setting {CREATES_BY_ITSELF} to {value} ({place})"
                    ));
                    body[place] = json!({ CREATES_BY_ITSELF: value });
                }
                put("_cluster/settings", &body)?;
            }
            Step::Template => {
                tell(&format!(
                    "{url}: setting up the template {}",
                    template_name(search)
                ));
                // The older kind of template, which all supported products accept.
                put(&format!("_template/{}", template_name(search)), &template)?;
            }
            Step::Index => {
                tell(&format!("{url}: creating the index {}", search.index));
                // The template supplies the fields.
                put(&search.index, &json!({}))?;
            }
            Step::Fields(fields) => {
                tell(&format!("{url}: adding {} to the index", fields.join(", ")));
                // Existing fields are accepted if their type is the same.
                let properties = json!({ "properties": template["mappings"]["properties"] });
                put(&format!("{}/_mapping", search.index), &properties)?;
            }
        }
    }
    if has_steps {
        let left = judged()?;
        anyhow::ensure!(
            left.is_empty(),
            "search.url = \"{url}\": the cluster accepted every step but still lacks {}: run `temporal-stack schema` again",
            left.iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
    write_whole(&place.config("search-template.json"), &template.to_string())
}

/// Adds the declared search attributes to the template. The server itself adds them only to the existing
/// index.
fn add_attributes(template: &mut Value, namespaces: &[Namespace]) {
    for (attribute, kind) in namespaces.iter().flat_map(|it| &it.search_attributes) {
        template["mappings"]["properties"][attribute] = match kind.as_str() {
            "Bool" => json!({ "type": "boolean" }),
            "Datetime" => json!({ "type": "date_nanos" }),
            "Double" => json!({ "type": "scaled_float", "scaling_factor": 10_000 }),
            "Int" => json!({ "type": "long" }),
            "Text" => json!({ "type": "text" }),
            _ => json!({ "type": "keyword" }),
        };
    }
}

fn template_name(search: &Search) -> String {
    format!("{}_template", search.index)
}

/// Returns the template that was set up last.
pub(crate) fn recorded_template(place: &Place) -> Option<Value> {
    let text = std::fs::read_to_string(place.config("search-template.json")).ok()?;
    serde_json::from_str(&text).ok()
}

/// Reads the state of a cluster without changing it.
///
/// # Errors
///
/// If it does not respond or is not supported by Temporal.
pub fn look(place: &Place, search: &Search) -> Result<Found, SearchError> {
    let get = |path: &str| call(place, search, "GET", path, None);
    let needed = |path: &str| match get(path)? {
        (200, answer) => Ok(answer),
        (401 | 403, _) => Err(SearchError::Credentials),
        (status, answer) => Err(refused(path, status, &answer)),
    };
    let root = needed("")?;
    let product = product(&root).ok_or(SearchError::Foreign)?;
    let settings = needed("_cluster/settings?flat_settings=true&include_defaults=true")?;
    let health = needed("_cluster/health")?;
    let template = match get(&format!("_template/{}", template_name(search)))? {
        (200, answer) => Some(types(&answer[template_name(search)]["mappings"]["properties"])),
        (404, _) => None,
        (status, answer) => return Err(refused(&template_name(search), status, &answer)),
    };
    let (index, records) = match get(&search.index)? {
        (200, answer) => {
            let fields = types(&answer[&search.index]["mappings"]["properties"]);
            let counted = needed(&format!("{}/_count", search.index))?;
            (Some(fields), counted["count"].as_u64().unwrap_or_default())
        }
        (404, _) => (None, 0),
        (status, answer) => return Err(refused(&search.index, status, &answer)),
    };
    Ok(Found {
        product,
        status: health["status"].as_str().unwrap_or_default().to_owned(),
        automatic: Automatic::read(&settings),
        template,
        index,
        records,
    })
}

/// Returns product and version from the response of the root path.
fn product(root: &Value) -> Option<String> {
    let version = &root["version"];
    let number = version["number"].as_str()?;
    let major: u32 = number.split('.').next()?.parse().ok()?;
    if version["distribution"] == "opensearch" {
        return Some(format!("OpenSearch {number}"));
    }
    let is_elastic = root["tagline"] == "You Know, for Search" && (7..=8).contains(&major);
    is_elastic.then(|| format!("Elasticsearch {number}"))
}

/// Returns the datastore section of the server's configuration.
///
/// # Errors
///
/// If the password cannot be read.
pub fn datastore(search: &Search) -> anyhow::Result<Value> {
    let url = search.url.as_deref().context("search.url is set")?;
    let (scheme, host) = url.split_once("://").context("search.url has a scheme")?;
    let mut config = json!({
        "version": "v7",
        "url": { "scheme": scheme, "host": host.trim_end_matches('/') },
        "indices": { "visibility": search.index },
    });
    if let (Some(user), Some(password)) = (&search.username, search.password()?) {
        config["username"] = json!(user);
        config["password"] = json!(password);
    }
    Ok(json!({ "elasticsearch": config }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn template() -> Value {
        json!({ "mappings": { "properties": {
            "WorkflowId": { "type": "keyword" }, "StartTime": { "type": "date_nanos" },
        }}})
    }

    const INDEX: &str = "temporal_visibility_v1";

    fn complete() -> Found {
        let fields = types(&template()["mappings"]["properties"]);
        Found {
            automatic: Automatic {
                persistent: Some("false".to_owned()),
                ..Automatic::default()
            },
            template: Some(fields.clone()),
            index: Some(fields),
            ..Found::default()
        }
    }

    #[test]
    fn an_empty_cluster_is_set_up_in_order() {
        let steps = judge(&Found::default(), INDEX, &template()).expect("possible");
        let settings = [("persistent", format!("-{INDEX},+*"))].into();
        assert_eq!(steps, [Step::Settings(settings), Step::Template, Step::Index]);
    }

    #[test]
    fn existing_parts_are_left_alone() {
        let mut found = complete();
        let index = found.index.as_mut().expect("there");
        index.insert("CapacityNamespace".to_owned(), "keyword".to_owned());
        assert_eq!(
            judge(&found, INDEX, &template()),
            Ok(vec![]),
            "custom search attributes are kept"
        );
    }

    #[test]
    fn a_field_of_a_later_version_is_added_and_one_of_another_type_is_refused() {
        let mut found = complete();
        let index = found.index.as_mut().expect("there");
        index.remove("StartTime");
        let steps = judge(&found, INDEX, &template()).expect("possible");
        assert_eq!(steps, [Step::Fields(vec!["StartTime".to_owned()])]);
        let index = found.index.as_mut().expect("there");
        index.insert("StartTime".to_owned(), "text".to_owned());
        let refused = judge(&found, INDEX, &template()).expect_err("refused");
        assert!(
            refused
                .to_string()
                .contains("StartTime is text instead of date_nanos"),
            "{refused}"
        );
    }

    #[rstest]
    #[case::opensearch(json!({ "version": { "number": "2.19.6", "distribution": "opensearch" } }), Some("OpenSearch 2.19.6"))]
    #[case::elastic(json!({ "version": { "number": "8.15.0" }, "tagline": "You Know, for Search" }), Some("Elasticsearch 8.15.0"))]
    #[case::too_old(json!({ "version": { "number": "6.8.0" }, "tagline": "You Know, for Search" }), None)]
    #[case::something_else(json!({ "error": "<html>" }), None)]
    fn supported_products_are_recognized(#[case] root: Value, #[case] expected: Option<&str>) {
        assert_eq!(product(&root).as_deref(), expected);
    }
}
