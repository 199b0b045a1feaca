//! `plan`: shows what would change now, and why.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use capacity_autopilot::{Plan, Scope};
use capacity_engine::NamespacePatterns;
use capacity_settings::Needs;

use crate::arguments::{self, Global};
use crate::exit::{Exit, print, tell};
use crate::observe;
use crate::output::Output;
use crate::render;
use crate::setup;
use crate::stops::Stops;
use crate::terminal::Terminal;
use crate::traces::Traces;
use crate::unfinished::{finish_changes, warn_once};

pub(crate) async fn run(
    flags: &arguments::Plan,
    global: &Global,
    terminal: Terminal,
) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    let settings = setup::settings(
        global,
        Needs {
            cloud_keys: true,
            ..Needs::default()
        },
    )?;
    let scope = scope(&flags.namespaces)?;
    let traces = Traces::begin(&settings)?;
    // Create a ledger only for samples that are to be stored in it.
    let (autopilot, kept) = match (flags.observe, &settings.ledger) {
        (None, _) => setup::read_only(&settings)?,
        (Some(_), Some(_)) => (capacity_wiring::autopilot(&settings)?, None),
        (Some(_), None) => setup::with_temporary_ledger(capacity_wiring::autopilot(&settings)?)?,
    };
    let mut problem = None;
    if let Some(duration) = flags.observe {
        // Only here, because a plan without --observe writes nothing to the ledger.
        problem = finish_changes(&autopilot, terminal).await;
        let stops = Stops::listen(None)?;
        if let Some(stopped) = observe::minutes(&autopilot, duration, &stops, terminal).await? {
            tell(&format!("{}: no plan was made", stopped.why()));
            return Ok(stopped.exit());
        }
    }
    let evaluation = setup::evaluate(&autopilot, &scope, terminal).await?;
    drop(kept);
    let plan = Plan::of(&evaluation);
    warn_once(problem.as_deref(), &plan.warnings);
    // A plan on its own changes nothing, so its trace is marked as a dry run.
    traces.planned(&plan, &evaluation, true);
    if let Some(path) = &flags.save {
        // Saved before it is shown: a closed pipe must not lose it.
        save(&plan.clone().with_inputs(&evaluation), path)?;
    }
    show(&plan, global.output(), flags.all, terminal, begun.elapsed())?;
    if let Some(path) = &flags.save {
        tell(&format!(
            "saved to {0}; to carry it out within 15 minutes, run: temporal-capacity apply {0}",
            path.display()
        ));
    }
    traces.finish().await;
    Ok(Exit::of_plan(
        flags.detailed_exitcode,
        &plan,
        plan.summary.changes(),
    ))
}

fn scope(globs: &[String]) -> anyhow::Result<Scope> {
    if globs.is_empty() {
        return Ok(Scope::All);
    }
    Ok(Scope::Matching(NamespacePatterns::try_new(globs)?))
}

fn save(plan: &Plan, path: &Path) -> anyhow::Result<()> {
    write_whole(&plan.to_saved(), path)
        .with_context(|| format!("the plan could not be saved to {}", path.display()))
}

/// Writes to a temporary file and renames it, so that readers never see an incomplete file. Keeps a symbolic
/// link, and writes directly to a target that is not a regular file, such as a pipe.
fn write_whole(text: &str, path: &Path) -> std::io::Result<()> {
    let target = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => match std::fs::canonicalize(path) {
            Ok(target) => target,
            // The target of the symbolic link does not exist yet.
            Err(_) => return std::fs::write(path, text),
        },
        _ => path.to_owned(),
    };
    if std::fs::metadata(&target).is_ok_and(|found| !found.is_file()) {
        return std::fs::write(&target, text);
    }
    let mut beside = target.as_os_str().to_owned();
    // Next to the target, because a rename is atomic only within one file system.
    beside.push(".part");
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, &target)
}

/// Shows a plan, with the result on standard output and warnings on standard error.
pub(crate) fn show(
    plan: &Plan,
    output: Output,
    all: bool,
    terminal: Terminal,
    took: Duration,
) -> anyhow::Result<()> {
    for warning in &plan.warnings {
        tell(&format!("warning: {warning}"));
    }
    for error in &plan.errors {
        tell(&format!("error: {error}"));
    }
    let closing = render::closing_line(plan, took);
    match output {
        Output::Table | Output::Html => {
            let folded = if all { String::new() } else { render::folded(plan) };
            return print(&format!(
                "{}{folded}{closing}\n",
                render::table(plan, all, terminal)
            ));
        }
        Output::Markdown => print(&render::markdown(plan, all))?,
        Output::Csv => print(&render::csv(plan)?)?,
        Output::Json => print(&serde_json::to_string_pretty(plan)?)?,
        Output::Jsonl => print(&lines(plan)?)?,
        Output::None => return Ok(()),
    }
    tell(&closing);
    Ok(())
}

/// Like [`show`], for commands that change something: a failure to print the plan is only a warning.
pub(crate) fn show_or_warn(plan: &Plan, output: Output, all: bool, terminal: Terminal, took: Duration) {
    if let Err(error) = show(plan, output, all, terminal, took) {
        tell(&format!("warning: {error:#}"));
    }
}

/// Returns decisions and then changes, one JSON object per line.
fn lines(plan: &Plan) -> anyhow::Result<String> {
    let mut lines = Vec::new();
    for decision in &plan.decisions {
        lines.push(serde_json::to_string(decision)? + "\n");
    }
    for change in plan.changes.iter().flatten() {
        lines.push(serde_json::to_string(change)? + "\n");
    }
    Ok(lines.concat())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn symbolic_links_and_devices_are_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("plans")).expect("a folder");
        std::fs::write(at("plans/old.json"), "old").expect("written");
        std::os::unix::fs::symlink("plans/old.json", at("link.json")).expect("linked");
        std::os::unix::fs::symlink("plans/new.json", at("dangling.json")).expect("linked");
        std::os::unix::fs::symlink("/dev/null", at("null")).expect("linked");
        for (path, written) in [
            ("plan.json", Some("plan.json")),
            ("link.json", Some("plans/old.json")),
            ("dangling.json", Some("plans/new.json")),
            ("null", None),
        ] {
            write_whole("new", &at(path)).expect(path);
            if let Some(written) = written {
                assert_eq!(std::fs::read_to_string(at(written)).expect(written), "new");
            }
        }
        for link in ["link.json", "dangling.json", "null"] {
            let found = std::fs::symlink_metadata(at(link)).expect(link);
            assert!(found.is_symlink(), "{link}");
        }
        write_whole("new", &at("plans")).expect_err("it is a folder");
    }
}
