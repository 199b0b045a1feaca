//! `explain`: shows one decision with its inputs, every size, and the smallest change that would have changed
//! it.

mod document;
mod trace;

use std::path::Path;

use anyhow::{Context, bail, ensure};
use capacity_autopilot::{EvaluationRequest, Plan, Scope, assume_documented_sizes, decision_in_ledger};
use capacity_engine::explain::{explain, row_of};
use capacity_engine::{NamespaceId, NamespacePatterns, ReasonCode};
use capacity_ledger::Ledger;
use capacity_settings::Needs;
use human_text::{at_minute, counted};

use crate::arguments::{Explain, Global};
use crate::exit::{Exit, print, tell};
use crate::output::Output;
use crate::setup;
use crate::terminal::Terminal;
use crate::times;

use document::Document;

pub(crate) async fn run(flags: &Explain, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let document = if let Some(file) = &flags.trace {
        trace::explain(file, flags, global)?
    } else {
        let name = flags.name.as_deref().context("specify a namespace")?;
        match &flags.plan {
            Some(file) => of_plan(file, name)?,
            None if flags.from.is_some() || flags.at.is_some() => {
                of_ledger(name, flags.at.as_deref(), global).await?
            }
            None => live(name, global, terminal).await?,
        }
    };
    match global.output() {
        Output::Table => print(document.text(terminal).trim_end())?,
        Output::Json => print(&serde_json::to_string_pretty(&document.json())?)?,
        Output::Jsonl => print(&document.json().to_string())?,
        _ => {}
    }
    Ok(Exit::Done)
}

/// Explains the decision that an evaluation would make now.
async fn live(name: &str, global: &Global, terminal: Terminal) -> anyhow::Result<Document> {
    let needs = Needs {
        cloud_keys: true,
        ..Needs::default()
    };
    let settings = setup::settings(global, needs)?;
    // Held until the end, because dropping it deletes the temporary ledger.
    let (autopilot, _temporary) = setup::read_only(&settings)?;
    let request = EvaluationRequest::of(Scope::Matching(NamespacePatterns::try_new(&[name])?));
    let bar = terminal.progress(format!("reading {name}"));
    let observed = autopilot.observe(&request, &|_| ()).await;
    bar.finish_and_clear();
    let observed = observed?;
    for warning in &observed.account.warnings {
        tracing::warn!("{warning}");
    }
    for error in &observed.account.errors {
        tracing::warn!("{error}");
    }
    let mut inputs = observed.inputs();
    ensure!(
        inputs.len() == 1,
        "{name} matches {}; specify one of them",
        counted(inputs.len(), "namespace")
    );
    let inputs = inputs.remove(0);
    Ok(Document::of(explain(&inputs), &inputs))
}

/// Explains a recorded decision.
async fn of_ledger(name: &str, at: Option<&str>, global: &Global) -> anyhow::Result<Document> {
    let at = at
        .map(|text| times::time(text).map_err(|problem| anyhow::anyhow!("--at {text}: {problem}")))
        .transpose()?;
    let settings = setup::settings(global, Needs::default())?;
    let location = settings.ledger.as_ref().context(
        "LEDGER_URL is not set, so there are no recorded decisions. Set it to the ledger of your worker, or explain what would be \
         decided now without --at and --from",
    )?;
    let ledger = Ledger::open_read_only(location).await?;
    let namespace = recorded_namespace(&ledger, name).await?;
    let recalled = decision_in_ledger(&ledger, &namespace, at, &settings.rules).await?;
    let Some(recalled) = recalled else {
        bail!(
            "the ledger {} has no decision about {namespace}{}. Run `temporal-capacity history {namespace}` to see the recorded ones",
            ledger.location(),
            at.map_or_else(String::new, |at| format!(" up to {}", at_minute(at)))
        );
    };
    let mut document = Document::of(explain(&recalled.inputs), &recalled.inputs);
    document.recorded(&recalled.row);
    for assumption in &recalled.assumed {
        document.assumed(assumption);
    }
    Ok(document)
}

async fn recorded_namespace(ledger: &Ledger, name: &str) -> anyhow::Result<NamespaceId> {
    let patterns = NamespacePatterns::try_new(&[name])?;
    let known = ledger.decided_namespaces().await?;
    let mut matching = known
        .iter()
        .filter_map(|known| known.parse::<NamespaceId>().ok())
        .filter(|known| patterns.matches(known));
    match (matching.next(), matching.next()) {
        (Some(namespace), None) => Ok(namespace),
        (Some(one), Some(other)) => bail!("{name} matches {one} and {other}; specify one of them"),
        (None, _) => bail!(
            "the ledger has no decision about {name}; it has decisions about {}",
            counted(known.len(), "namespace")
        ),
    }
}

/// Explains a decision in a saved plan.
fn of_plan(file: &Path, name: &str) -> anyhow::Result<Document> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?;
    let plan = Plan::from_saved(&text).with_context(|| format!("cannot explain {shown}"))?;
    let patterns = NamespacePatterns::try_new(&[name])?;
    let mut matching = plan.decisions.iter().filter(|decision| {
        decision
            .namespace
            .parse::<NamespaceId>()
            .is_ok_and(|namespace| patterns.matches(&namespace))
    });
    let decision = match (matching.next(), matching.next()) {
        (Some(decision), None) => decision,
        (Some(one), Some(other)) => bail!(
            "{name} matches {} and {}; specify one of them",
            one.namespace,
            other.namespace
        ),
        (None, _) => bail!("{shown} has no decision about {name}"),
    };
    let why = match plan.inputs_of(&decision.namespace) {
        Ok(Some(mut inputs)) => {
            let sizes_assumed = assume_documented_sizes(&mut inputs);
            let mut document = Document::of(explain(&inputs), &inputs);
            document.saved(decision);
            if sizes_assumed {
                document.assumed(
                    "The documented sizes are assumed, because sizes are read only for namespaces that need \
                     a change.",
                );
            }
            return Ok(document);
        }
        Ok(None) => "the plan was saved without the inputs of this decision".to_owned(),
        Err(error) => format!("this version cannot use the saved inputs of the decision: {error}"),
    };
    let code = ReasonCode::ALL
        .iter()
        .find(|code| code.as_str() == decision.reason_code)
        .with_context(|| format!("{shown}: the reason code `{}` is unknown", decision.reason_code))?;
    let row = row_of(*code, decision.blocked_trus.is_some());
    tell(&format!(
        "{why}. Make a new plan with `temporal-capacity plan --save FILE`, or run `explain` without --plan to see what would be decided now"
    ));
    Ok(Document::of_plan(&plan, decision, *code, row))
}
