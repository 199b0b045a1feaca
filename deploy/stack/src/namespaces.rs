//! Applies namespaces, search attributes and archival from `stack.toml`: first shows the differences, then
//! changes them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use temporalio_client::Client;
use temporalio_client::grpc::{OperatorService, WorkflowService};
use temporalio_client::tonic::{Code, IntoRequest};
use temporalio_common::protos::temporal::api::enums::v1::{ArchivalState, IndexedValueType};
use temporalio_common::protos::temporal::api::namespace::v1::{NamespaceConfig, UpdateNamespaceInfo};
use temporalio_common::protos::temporal::api::operatorservice::v1::{
    AddSearchAttributesRequest, ListSearchAttributesRequest,
};
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    DescribeNamespaceRequest, RegisterNamespaceRequest, UpdateNamespaceRequest,
};

use crate::place::{Place, Stack};
use crate::render::archive_uri;
use crate::settings::{Namespace, Settings};
use crate::tell;

const DAY: u64 = 24 * 3600;

/// Timeout for a new namespace to become visible to every role.
const KNOWN: Duration = Duration::from_mins(1);

/// A namespace as it exists on the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Present {
    /// Description of the namespace.
    pub description: String,
    /// Retention of closed workflows, in seconds.
    pub retention_seconds: u64,
    /// Archive URI for histories; `None` if they are not archived.
    pub history_archive: Option<String>,
    /// Archive URI for visibility records; `None` if they are not archived.
    pub visibility_archive: Option<String>,
    /// Custom search attributes and their types.
    pub search_attributes: BTreeMap<String, String>,
}

/// A declared namespace with its archive URIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Declaration in `stack.toml`.
    pub declared: Namespace,
    /// Archive URI for histories; `None` if they are not archived.
    pub history_archive: Option<String>,
    /// Archive URI for visibility records; `None` if they are not archived.
    pub visibility_archive: Option<String>,
}

/// The differences between a namespace and its declaration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Lines to show: `+` is created, `~` is changed, and `!` cannot be changed.
    pub lines: Vec<String>,
    /// Whether the namespace does not exist.
    pub is_missing: bool,
    /// Whether its settings differ.
    pub is_changed: bool,
    /// Search attributes to add.
    pub attributes: BTreeMap<String, String>,
    /// Conflicts that prevent the change.
    pub conflicts: Vec<String>,
}

impl Difference {
    /// Returns whether there are no differences.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// Returns the declared namespaces of a stack.
pub fn wanted(place: &Place, stack: &Stack) -> Vec<Wanted> {
    let of = |declared: &Namespace| {
        let archive = |kind: &str, wanted: bool| wanted.then(|| archive_uri(place, stack, kind));
        Wanted {
            history_archive: archive("history", declared.archive_history),
            visibility_archive: archive("visibility", declared.archive_visibility),
            declared: declared.clone(),
        }
    };
    stack.settings.namespaces.iter().map(of).collect()
}

/// Returns the declared namespaces of a stack that runs elsewhere, which has no run directory to archive to.
///
/// # Errors
///
/// If a namespace is archived but no bucket is declared.
pub fn wanted_elsewhere(settings: &Settings) -> anyhow::Result<Vec<Wanted>> {
    let bucket = |kind: &str, uri: &Option<String>, wanted: bool, name: &str| {
        anyhow::ensure!(
            !wanted || uri.is_some(),
            "the namespace {name} archives its {kind}: set archival.{kind} to a bucket, such as \"s3://archive/{kind}\""
        );
        Ok(uri.clone().filter(|_| wanted))
    };
    let of = |declared: &Namespace| {
        let archival = &settings.archival;
        let name = &declared.name;
        Ok(Wanted {
            history_archive: bucket("history", &archival.history, declared.archive_history, name)?,
            visibility_archive: bucket(
                "visibility",
                &archival.visibility,
                declared.archive_visibility,
                name,
            )?,
            declared: declared.clone(),
        })
    };
    settings.namespaces.iter().map(of).collect()
}

/// Compares a namespace with its declaration.
pub fn difference(wanted: &Wanted, present: Option<&Present>) -> Difference {
    let name = &wanted.declared.name;
    let mut difference = Difference::default();
    let Some(present) = present else {
        difference.is_missing = true;
        difference
            .attributes
            .clone_from(&wanted.declared.search_attributes);
        let days = wanted.declared.retention_days;
        difference
            .lines
            .push(format!("+ namespace {name}, retention {days} days"));
        for (kind, uri) in [
            ("history", &wanted.history_archive),
            ("visibility", &wanted.visibility_archive),
        ] {
            if let Some(uri) = uri {
                difference
                    .lines
                    .push(format!("+ namespace {name}: {kind} archived to {uri}"));
            }
        }
        for (attribute, kind) in &difference.attributes {
            difference.lines.push(format!(
                "+ namespace {name}: search attribute {attribute} ({kind})"
            ));
        }
        return difference;
    };
    let mut change = |line: String| {
        difference.is_changed = true;
        difference.lines.push(line);
    };
    let seconds = u64::from(wanted.declared.retention_days) * DAY;
    if present.retention_seconds != seconds {
        let hours = present.retention_seconds / 3600;
        change(format!(
            "~ namespace {name}: retention {hours} h -> {} days",
            wanted.declared.retention_days
        ));
    }
    // The server ignores an empty description and keeps the old one.
    if present.description != wanted.declared.description && !wanted.declared.description.is_empty() {
        change(format!(
            "~ namespace {name}: description \"{}\" -> \"{}\"",
            present.description, wanted.declared.description
        ));
    }
    let archives = [
        ("history", &present.history_archive, &wanted.history_archive),
        (
            "visibility",
            &present.visibility_archive,
            &wanted.visibility_archive,
        ),
    ];
    for (kind, present, wanted) in archives {
        let shown = |uri: &Option<String>| uri.clone().unwrap_or_else(|| "disabled".to_owned());
        if present != wanted {
            change(format!(
                "~ namespace {name}: {kind} archival {} -> {}",
                shown(present),
                shown(wanted)
            ));
        }
    }
    for (attribute, kind) in &wanted.declared.search_attributes {
        match present.search_attributes.get(attribute) {
            None => {
                difference.lines.push(format!(
                    "+ namespace {name}: search attribute {attribute} ({kind})"
                ));
                difference.attributes.insert(attribute.clone(), kind.clone());
            }
            Some(other) if other != kind => {
                let conflict = format!(
                    "namespace {name}: search attribute {attribute} has the type {other}, but stack.toml declares {kind}; a type cannot \
                     be changed: use another name, or remove it with `temporal operator search-attribute remove`, losing its values"
                );
                difference.lines.push(format!("! {conflict}"));
                difference.conflicts.push(conflict);
            }
            Some(_) => {}
        }
    }
    difference
}

/// Reads a namespace; `None` if it does not exist.
///
/// # Errors
///
/// If the server does not respond.
pub async fn read(client: &Client, name: &str) -> anyhow::Result<Option<Present>> {
    let request = DescribeNamespaceRequest {
        namespace: name.to_owned(),
        ..Default::default()
    };
    let described =
        match WorkflowService::describe_namespace(&mut client.clone(), request.into_request()).await {
            Ok(described) => described.into_inner(),
            Err(status) if status.code() == Code::NotFound => return Ok(None),
            Err(status) => anyhow::bail!("cannot describe the namespace {name}: {}", status.message()),
        };
    let config = described.config.unwrap_or_default();
    let retention = config
        .workflow_execution_retention_ttl
        .map_or(0, |ttl| ttl.seconds);
    // The server keeps the URI when archival is disabled.
    let archive = |state: i32, uri: String| (state == ArchivalState::Enabled as i32).then_some(uri);
    let request = ListSearchAttributesRequest {
        namespace: name.to_owned(),
    };
    let listed = OperatorService::list_search_attributes(&mut client.clone(), request.into_request()).await;
    let listed = listed.map_err(|status| {
        anyhow::anyhow!(
            "cannot list the search attributes of {name}: {}",
            status.message()
        )
    })?;
    let attributes = listed.into_inner().custom_attributes.into_iter();
    Ok(Some(Present {
        description: described.namespace_info.unwrap_or_default().description,
        retention_seconds: u64::try_from(retention).unwrap_or_default(),
        history_archive: archive(config.history_archival_state, config.history_archival_uri),
        visibility_archive: archive(config.visibility_archival_state, config.visibility_archival_uri),
        search_attributes: attributes
            .map(|(name, number)| (name, type_name(number)))
            .collect(),
    }))
}

const TYPES: [(IndexedValueType, &str); 7] = [
    (IndexedValueType::Text, "Text"),
    (IndexedValueType::Keyword, "Keyword"),
    (IndexedValueType::Int, "Int"),
    (IndexedValueType::Double, "Double"),
    (IndexedValueType::Bool, "Bool"),
    (IndexedValueType::Datetime, "Datetime"),
    (IndexedValueType::KeywordList, "KeywordList"),
];

fn type_name(number: i32) -> String {
    let found = TYPES.iter().find(|(kind, _)| *kind as i32 == number);
    // A newer server may have more types.
    found.map_or_else(|| format!("type {number}"), |(_, name)| (*name).to_owned())
}

/// Compares every namespace with `stack.toml`, prints the differences, and applies them unless this is a dry
/// run. Returns whether there are any.
///
/// # Errors
///
/// If there is a conflict, in which case nothing is changed, or if the server rejects a change.
pub async fn apply(wanted: Vec<Wanted>, client: &Client, only_show: bool) -> anyhow::Result<bool> {
    let mut differences = Vec::new();
    for wanted in wanted {
        let present = read(client, &wanted.declared.name).await?;
        let difference = difference(&wanted, present.as_ref());
        for line in &difference.lines {
            tell(line);
        }
        differences.push((wanted, difference));
    }
    let conflicts: Vec<String> = differences
        .iter()
        .flat_map(|(_, it)| it.conflicts.clone())
        .collect();
    anyhow::ensure!(
        conflicts.is_empty(),
        "{}. Nothing was changed",
        conflicts.join("; ")
    );
    let differs = differences.iter().any(|(_, it)| !it.is_empty());
    if only_show {
        return Ok(differs);
    }
    for (wanted, difference) in differences {
        carry_out(client, &wanted, &difference).await?;
    }
    Ok(differs)
}

async fn carry_out(client: &Client, wanted: &Wanted, difference: &Difference) -> anyhow::Result<()> {
    let name = &wanted.declared.name;
    let state = |uri: &Option<String>| match uri {
        Some(_) => ArchivalState::Enabled as i32,
        None => ArchivalState::Disabled as i32,
    };
    let retention = Duration::from_secs(u64::from(wanted.declared.retention_days) * DAY);
    if difference.is_missing {
        let request = RegisterNamespaceRequest {
            namespace: name.clone(),
            description: wanted.declared.description.clone(),
            workflow_execution_retention_period: retention.try_into().ok(),
            history_archival_state: state(&wanted.history_archive),
            history_archival_uri: wanted.history_archive.clone().unwrap_or_default(),
            visibility_archival_state: state(&wanted.visibility_archive),
            visibility_archival_uri: wanted.visibility_archive.clone().unwrap_or_default(),
            ..Default::default()
        };
        match WorkflowService::register_namespace(&mut client.clone(), request.into_request()).await {
            Ok(_) => {}
            // Another `apply` has created it since it was read.
            Err(status) if status.code() == Code::AlreadyExists => {}
            Err(status) => anyhow::bail!(
                "cannot create the namespace {name}{}: {}",
                archived_to(wanted),
                status.message()
            ),
        }
    } else if difference.is_changed {
        let request = UpdateNamespaceRequest {
            namespace: name.clone(),
            update_info: Some(UpdateNamespaceInfo {
                description: wanted.declared.description.clone(),
                ..Default::default()
            }),
            config: Some(NamespaceConfig {
                workflow_execution_retention_ttl: retention.try_into().ok(),
                history_archival_state: state(&wanted.history_archive),
                history_archival_uri: wanted.history_archive.clone().unwrap_or_default(),
                visibility_archival_state: state(&wanted.visibility_archive),
                visibility_archival_uri: wanted.visibility_archive.clone().unwrap_or_default(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let updated = WorkflowService::update_namespace(&mut client.clone(), request.into_request()).await;
        updated.map_err(|status| {
            anyhow::anyhow!(
                "cannot update the namespace {name}: {} (the URI of an archive cannot change once it is set)",
                status.message()
            )
        })?;
    }
    if !difference.attributes.is_empty() {
        add_attributes(client, name, &difference.attributes).await?;
    }
    Ok(())
}

/// Describes the archives for an error message, because a request also fails if the server cannot access them.
fn archived_to(wanted: &Wanted) -> String {
    let uris = [&wanted.history_archive, &wanted.visibility_archive];
    let uris: Vec<&str> = uris.into_iter().flatten().map(String::as_str).collect();
    if uris.is_empty() {
        return String::new();
    }
    format!(", archived to {}", uris.join(" and "))
}

async fn add_attributes(
    client: &Client,
    name: &str,
    attributes: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let mut numbered = std::collections::HashMap::new();
    for (attribute, kind) in attributes {
        let (number, _) = TYPES.iter().find(|(_, it)| it == kind).context("a known type")?;
        numbered.insert(attribute.clone(), *number as i32);
    }
    let request = AddSearchAttributesRequest {
        search_attributes: numbered,
        namespace: name.to_owned(),
    };
    let begun = Instant::now();
    // A new namespace is known everywhere only after the caches have been refreshed.
    loop {
        let added =
            OperatorService::add_search_attributes(&mut client.clone(), request.clone().into_request()).await;
        match added {
            Ok(_) => break,
            // An earlier attempt succeeded although its response was lost, or another `apply` was faster.
            Err(status) if status.code() == Code::AlreadyExists => break,
            Err(status) if begun.elapsed() > KNOWN => {
                anyhow::bail!("cannot add search attributes to {name}: {}", status.message());
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
    loop {
        // Until an accepted attribute is listed, workflows that set it are rejected.
        let known = read(client, name).await?.unwrap_or_default().search_attributes;
        if attributes.keys().all(|attribute| known.contains_key(attribute)) {
            return Ok(());
        }
        anyhow::ensure!(
            begun.elapsed() < 2 * KNOWN,
            "the search attributes of {name} were accepted but are not listed"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            declared: Namespace {
                name: "pay".to_owned(),
                description: "payments".to_owned(),
                retention_days: 7,
                archive_history: true,
                archive_visibility: false,
                search_attributes: [("Customer".to_owned(), "Keyword".to_owned())].into(),
            },
            history_archive: Some("file:///archive/history".to_owned()),
            visibility_archive: None,
        }
    }

    fn present() -> Present {
        Present {
            description: "payments".to_owned(),
            retention_seconds: 7 * DAY,
            history_archive: Some("file:///archive/history".to_owned()),
            visibility_archive: None,
            search_attributes: [("Customer".to_owned(), "Keyword".to_owned())].into(),
        }
    }

    #[test]
    fn a_stack_that_runs_elsewhere_archives_to_a_bucket_or_not_at_all() {
        let parse = |text: &str| Settings::parse(text).expect("valid");
        let archiving = "[autopilot]\nenabled = false\n[[namespace]]\nname = \"orders\"\nretention_days = 7\n\
                         archive_history = true\n";
        let refusal = wanted_elsewhere(&parse(archiving))
            .expect_err("no bucket")
            .to_string();
        assert!(refusal.contains("set archival.history to a bucket"), "{refusal}");
        let bucket =
            format!("{archiving}[archival]\nhistory = \"s3://archive/history\"\ns3_region = \"eu-west-1\"\n");
        let wanted = wanted_elsewhere(&parse(&bucket)).expect("a bucket");
        assert_eq!(wanted[0].history_archive.as_deref(), Some("s3://archive/history"));
        assert_eq!(wanted[0].visibility_archive, None);
    }

    #[test]
    fn a_namespace_as_declared_needs_no_change() {
        assert!(difference(&wanted(), Some(&present())).is_empty());
    }

    #[test]
    fn undeclared_search_attributes_are_left_alone() {
        let mut present = present();
        present
            .search_attributes
            .insert("Other".to_owned(), "Int".to_owned());
        assert!(difference(&wanted(), Some(&present)).is_empty());
    }

    #[test]
    fn a_missing_namespace_is_created_with_everything() {
        let lines = difference(&wanted(), None).lines;
        assert_eq!(
            lines,
            [
                "+ namespace pay, retention 7 days",
                "+ namespace pay: history archived to file:///archive/history",
                "+ namespace pay: search attribute Customer (Keyword)",
            ]
        );
    }

    #[test]
    fn each_setting_that_differs_is_shown() {
        let present = Present {
            retention_seconds: DAY,
            history_archive: None,
            search_attributes: BTreeMap::new(),
            ..present()
        };
        let found = difference(&wanted(), Some(&present));
        assert_eq!(
            found.lines,
            [
                "~ namespace pay: retention 24 h -> 7 days",
                "~ namespace pay: history archival disabled -> file:///archive/history",
                "+ namespace pay: search attribute Customer (Keyword)",
            ]
        );
    }

    #[test]
    fn a_type_is_never_changed() {
        let mut present = present();
        present
            .search_attributes
            .insert("Customer".to_owned(), "Int".to_owned());
        let found = difference(&wanted(), Some(&present));
        assert!(
            found.conflicts[0].contains("use another name"),
            "{:?}",
            found.conflicts
        );
        assert!(found.attributes.is_empty());
    }
}
