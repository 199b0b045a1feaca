//! Builds an autopilot from flags and settings.

use anyhow::Context;
use capacity_autopilot::{Autopilot, Evaluation, EvaluationRequest, LedgerHandle, Progress, Scope};
use capacity_ledger::Location;
use capacity_settings::{Inputs, Needs, Settings};
use human_text::counted;

use crate::arguments::Global;
use crate::exit::tell;
use crate::terminal::Terminal;

/// Reads the settings. Prints warnings to standard error.
pub(crate) fn settings(global: &Global, needs: Needs) -> anyhow::Result<Settings> {
    let mut inputs = Inputs::from_process();
    inputs.file.clone_from(&global.config);
    if global.temporal_cli.disable_config_file {
        // Without these variables, the client library finds no configuration file.
        for name in [
            "HOME",
            "XDG_CONFIG_HOME",
            "AppData",
            "TEMPORAL_CONFIG_FILE",
            "TEMPORAL_PROFILE",
        ] {
            inputs.environment.remove(name);
        }
    }
    if global.temporal_cli.disable_config_env {
        let is_ours =
            |name: &str| name.starts_with("TEMPORAL_CLOUD_") || name.starts_with("TEMPORAL_CAPACITY_");
        inputs
            .environment
            .retain(|name, _| !name.starts_with("TEMPORAL_") || is_ours(name));
    }
    // Flags that the Temporal CLI passes on. They select the same files and profiles as in the Temporal CLI itself.
    let handed = [
        ("TEMPORAL_PROFILE", global.temporal_cli.profile.clone()),
        (
            "TEMPORAL_CONFIG_FILE",
            global
                .temporal_cli
                .config_file
                .as_ref()
                .map(|file| file.display().to_string()),
        ),
    ];
    for (name, value) in handed {
        inputs
            .environment
            .extend(value.map(|value| (name.to_owned(), value)));
    }
    for assignment in &global.set {
        let (name, value) = assignment.split_once('=').with_context(|| {
            format!("--set takes NAME=VALUE, not `{assignment}`; for example --set DRY_RUN_MODE=true")
        })?;
        inputs
            .flags
            .push((name.trim().to_owned(), value.to_owned(), "--set".to_owned()));
    }
    inputs.flags.extend(
        global
            .given
            .iter()
            .map(|(name, value, flag)| ((*name).to_owned(), value.clone(), (*flag).to_owned())),
    );
    let named = [
        ("TEMPORAL_ADDRESS", &global.address, "--address"),
        ("TEMPORAL_NAMESPACE", &global.namespace, "--namespace"),
    ];
    for (name, value, flag) in named {
        inputs.flags.extend(
            value
                .clone()
                .map(|value| (name.to_owned(), value, flag.to_owned())),
        );
    }
    let settings = capacity_settings::load(&inputs, needs)?;
    for warning in &settings.warnings {
        tell(&format!("warning: {warning}"));
    }
    Ok(settings)
}

/// An autopilot, and the folder of its temporary ledger, which is deleted with it.
pub(crate) type WithTemporary = (Autopilot, Option<tempfile::TempDir>);

/// Builds the autopilot of a read-only command. A ledger that does not exist is not created; the command uses
/// an empty temporary one, which leads to the same decisions.
pub(crate) fn read_only(settings: &Settings) -> anyhow::Result<WithTemporary> {
    let autopilot = capacity_wiring::autopilot(settings)?;
    match &settings.ledger {
        Some(location) if is_missing(location) => {
            tell(&format!(
                "warning: there is no ledger at {location} yet; the worker and `temporal-capacity apply` create one"
            ));
            with_temporary_ledger(autopilot)
        }
        Some(location) => {
            let ledger = LedgerHandle::existing(location.clone());
            Ok((autopilot.with_ledger(ledger), None))
        }
        None => Ok((autopilot, None)),
    }
}

/// Adds a temporary ledger to the autopilot, for this run only.
pub(crate) fn with_temporary_ledger(autopilot: Autopilot) -> anyhow::Result<WithTemporary> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder for the minutes")?;
    let location = Location::Sqlite(folder.path().join("minutes.db"));
    Ok((autopilot.with_ledger(LedgerHandle::at(location)), Some(folder)))
}

fn is_missing(location: &Location) -> bool {
    match location {
        Location::Sqlite(path) => std::fs::metadata(path).is_err_and(|error| {
            matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            )
        }),
        // Only the server knows whether its database exists.
        _ => false,
    }
}

/// Evaluates, and shows progress on standard error.
pub(crate) async fn evaluate(
    autopilot: &Autopilot,
    scope: &Scope,
    terminal: Terminal,
) -> anyhow::Result<Evaluation> {
    evaluate_on(autopilot, EvaluationRequest::of(scope.clone()), terminal).await
}

/// Like [`evaluate`], with all options of a request.
pub(crate) async fn evaluate_on(
    autopilot: &Autopilot,
    request: EvaluationRequest,
    terminal: Terminal,
) -> anyhow::Result<Evaluation> {
    let bar = terminal.progress("listing namespaces");
    let progress = |progress: Progress| {
        bar.set_message(match progress {
            Progress::Listing(count) => format!("listing namespaces: {count}"),
            Progress::ReadingMetrics(count) => {
                format!("reading the metrics of {}", counted(count, "namespace"))
            }
            Progress::ReadingCapacityInfo(count) => {
                format!("reading the capacity of {}", counted(count, "namespace"))
            }
            _ => return,
        });
    };
    let evaluation = autopilot.evaluate_on(&request, &progress).await;
    bar.finish_and_clear();
    Ok(evaluation?)
}
