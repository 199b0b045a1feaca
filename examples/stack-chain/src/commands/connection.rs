//! Checks the connections to Temporal and Spacelift.

use std::fmt::Write as _;
use std::process::ExitCode;

use human_text::counted;
use stack_chain::provider::ProviderError;
use stack_chain::settings::{Account, connect};
use temporalio_client::grpc::WorkflowService as _;
use temporalio_client::tonic::IntoRequest as _;
use temporalio_common::protos::temporal::api::workflowservice::v1::ListNamespacesRequest;

use super::output::print;

pub(super) async fn check(account: &Account) -> anyhow::Result<ExitCode> {
    let mut text = String::new();
    let mut is_good = true;
    match temporal().await {
        Ok(line) => text.push_str(&line),
        Err(error) => {
            is_good = false;
            let _ = writeln!(text, "Temporal: {error:#}");
        }
    }
    let provider = account.provider()?;
    match provider.identity().await {
        Ok(identity) => {
            let _ = writeln!(text, "{}: logged in as {}", provider.name(), identity.name);
        }
        Err(error) => {
            let _ = writeln!(text, "{}: {error}", provider.name());
            print(&text);
            // Without a login, the other checks would fail for the same reason.
            return Ok(ExitCode::from(1));
        }
    }
    let mut right = |name: &str, found: Result<String, ProviderError>| {
        let _ = match found {
            Ok(found) => writeln!(text, "permission to {name}: yes ({found})"),
            Err(error) => {
                is_good = false;
                writeln!(text, "permission to {name}: MISSING ({error})")
            }
        };
    };
    let stacks = provider.stacks().await;
    let first = stacks
        .as_ref()
        .ok()
        .and_then(|stacks| stacks.first().map(|stack| stack.id.clone()));
    right("list stacks", stacks.map(|stacks| counted(stacks.len(), "stack")));
    if let Some(stack) = first {
        right(
            "read runs",
            provider
                .runs(&stack)
                .await
                .map(|runs| format!("{} of {stack}", counted(runs.len(), "run"))),
        );
    }
    text.push_str("permission to trigger runs: not checked, because that would start a run\n");
    print(&text);
    Ok(ExitCode::from(u8::from(!is_good)))
}

async fn temporal() -> anyhow::Result<String> {
    let mut client = connect().await?;
    let own = client.options().namespace.clone();
    let listed = client
        .list_namespaces(
            ListNamespacesRequest {
                page_size: 100,
                ..Default::default()
            }
            .into_request(),
        )
        .await;
    // A namespace's key on Temporal Cloud cannot list other namespaces.
    let names = listed.map(|answer| {
        let namespaces = answer.into_inner().namespaces;
        namespaces
            .into_iter()
            .filter_map(|it| it.namespace_info)
            .map(|it| it.name)
            .collect::<Vec<_>>()
            .join(", ")
    });
    Ok(match names {
        Ok(names) => format!("Temporal: connected, namespace {own}; all namespaces: {names}\n"),
        Err(status) => format!(
            "Temporal: connected, namespace {own}; other namespaces cannot be listed: {}\n",
            status.message()
        ),
    })
}
