//! `backtest`: calculates what each policy would have cost on a recorded load.

mod figures;
mod memory;
pub(crate) mod parameters;
mod report;
mod run;
mod sweep;
mod work;

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use capacity_backtest::{Contender, Course, Trace};
use capacity_settings::Needs;
use human_text::counted;

use crate::arguments::{Backtest, BacktestSource, Global};
use crate::exit::{Exit, print, tell};
use crate::output::Output;
use crate::setup;
use crate::terminal::Terminal;

use figures::{Figures, TraceFigures};
pub(crate) use run::Load;
use run::Run;

/// Maximum file size in bytes; enough for more than ten million rows.
const MOST_BYTES: u64 = 512 * 1024 * 1024;

pub(crate) fn run(flags: &Backtest, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    if let Some(source) = flags.from {
        return from_memory(flags, source, global, terminal, begun);
    }
    check_source(flags)?;
    let format = global.output();
    let run = prepare(flags, global)?;
    for load in &run.loads {
        for note in notes(load, &run) {
            tell(&format!("{}: {note}", load.name));
        }
    }
    let bar = terminal.progress("replaying");
    let figures = score(&run, |done, of| {
        bar.set_message(format!("replaying: {done} of {of} runs done"));
    })?;
    let sweep = if flags.sweep {
        Some(sweep::sweep(&run, |done, of| {
            bar.set_message(format!("sweep: {done} of {of} runs done"));
        })?)
    } else {
        None
    };
    let courses = match format {
        Output::Html => courses(&run)?,
        _ => Vec::new(),
    };
    bar.finish_and_clear();
    match format {
        Output::Table => {
            print(&figures.table(terminal))?;
            if let Some(sweep) = &sweep {
                print(&sweep.table(terminal))?;
            }
            tell(&format!(
                "{} in {:.1} s",
                figures.summary(),
                begun.elapsed().as_secs_f64()
            ));
        }
        Output::Json | Output::Jsonl => {
            let mut document = figures.json();
            if let (Some(sweep), Some(object)) = (&sweep, document.as_object_mut()) {
                object.insert("sweep".to_owned(), sweep.json());
            }
            print(&one_document(&document, format)?)?;
        }
        // A CSV file is one table, and with --sweep that is the sweep.
        Output::Csv => print(&sweep.as_ref().map_or_else(|| figures.csv(), sweep::Sweep::csv)?)?,
        Output::Html => print(&report::page(&run, &figures, sweep.as_ref(), &courses)?)?,
        // `settle_output` has rejected every other format.
        _ => {}
    }
    Ok(Exit::Done)
}

/// Formats a document, in one line for `jsonl`.
fn one_document(document: &serde_json::Value, format: Output) -> anyhow::Result<String> {
    Ok(match format {
        Output::Jsonl => document.to_string(),
        _ => serde_json::to_string_pretty(document)?,
    })
}

/// Checks the flags of a backtest of files.
fn check_source(flags: &Backtest) -> anyhow::Result<()> {
    for (flag, is_given) in [("--days", flags.days.is_some()), ("--to", flags.to.is_some())] {
        anyhow::ensure!(
            !is_given,
            "{flag} selects a part of what a ledger or Prometheus has recorded: add `--from ledger` or `--from prometheus`. \
             A CSV file is replayed whole"
        );
    }
    anyhow::ensure!(
        !flags.files.is_empty(),
        "there is no load to replay: add `--from ledger` (LEDGER_URL) or `--from prometheus` (PROMETHEUS_URL) for the load of \
         every namespace, or name CSV files. `temporal-capacity backtest --help` describes both"
    );
    Ok(())
}

/// Runs a backtest on the loads in a ledger or in Prometheus.
fn from_memory(
    flags: &Backtest,
    source: BacktestSource,
    global: &Global,
    terminal: Terminal,
    begun: Instant,
) -> anyhow::Result<Exit> {
    let format = global.output();
    // In this command, `--namespace` filters the recorded namespaces; it does not set TEMPORAL_NAMESPACE.
    let mut global = global.clone();
    let glob = global.namespace.take();
    // Otherwise the settings of Prometheus would be ignored where the worker uses the endpoint.
    if source == BacktestSource::Prometheus {
        global
            .given
            .push(("METRICS_SOURCE", "prometheus".to_owned(), "--from"));
    }
    let (mut run, settings) = policies(flags, &global)?;
    let draws = format == Output::Html;
    let mut account = memory::account(flags, source, glob.as_deref(), &settings, &run, (draws, terminal))?;
    match format {
        Output::Table => {
            print(&account.table(terminal))?;
            let seconds = begun.elapsed().as_secs_f64();
            tell(&format!("{} in {seconds:.1} s", account.summary()));
        }
        Output::Json | Output::Jsonl => {
            let mut document = account.figures.json();
            if let Some(object) = document.as_object_mut() {
                object.insert("range".to_owned(), account.span_json());
                object.insert("namespaces".to_owned(), account.json());
            }
            print(&one_document(&document, format)?)?;
        }
        Output::Csv => print(&account.figures.csv()?)?,
        Output::Html => {
            run.loads = std::mem::take(&mut account.loads);
            print(&report::page(&run, &account.figures, None, &courses(&run)?)?)?;
        }
        _ => {}
    }
    Ok(Exit::Done)
}

fn prepare(flags: &Backtest, global: &Global) -> anyhow::Result<Run> {
    let (mut run, _) = policies(flags, global)?;
    run.loads = flags
        .files
        .iter()
        .map(|file| read(file))
        .collect::<anyhow::Result<_>>()?;
    for load in &run.loads {
        let days = run.settings(&load.trace)?.warmup_days;
        anyhow::ensure!(
            load.trace.len() > days * 24 * 60,
            "{}: the load has {} minutes, and --warmup-days {days} leaves none of them. Use fewer warm-up days",
            load.name,
            load.trace.len()
        );
    }
    Ok(run)
}

/// Returns a run with the parameters from flags and settings but without loads, and the settings.
fn policies(flags: &Backtest, global: &Global) -> anyhow::Result<(Run, capacity_settings::Settings)> {
    let mut global = global.clone();
    if let Some(price) = &flags.price {
        global
            .given
            .push(("PRICE_PER_MILLION_ACTIONS", price.clone(), "--price"));
    }
    let settings = setup::settings(&global, Needs::default())?;
    let parameters = parameters::parse(&flags.policy_param, flags.delay_value.as_deref())?;
    let run = Run {
        loads: Vec::new(),
        parameters,
        cadence: flags.cadence.parse()?,
        price: settings.rules.prices.clone(),
        warmup_days: flags.warmup_days,
    };
    Ok((run, settings))
}

/// Reads a load from a file.
pub(crate) fn read(file: &Path) -> anyhow::Result<Load> {
    let shown = file.display();
    let bytes = std::fs::metadata(file)
        .with_context(|| format!("cannot read {shown}"))?
        .len();
    anyhow::ensure!(
        // Checked before the file is read into memory.
        bytes <= MOST_BYTES,
        "{shown} has {bytes} bytes; at most {MOST_BYTES} are read. Split the file by time"
    );
    let text = std::fs::read(file).with_context(|| format!("cannot read {shown}"))?;
    let text = String::from_utf8(text)
        .map_err(|_| anyhow::anyhow!("{shown} is not UTF-8 text. Export the load as CSV"))?;
    let trace = Trace::parse(&text).map_err(|error| anyhow::anyhow!("{shown}, {error}"))?;
    let name = file
        .file_stem()
        .map_or_else(|| shown.to_string(), |stem| stem.to_string_lossy().into_owned());
    Ok(Load { name, trace })
}

/// Returns the caveats for interpreting this load's figures.
fn notes(load: &Load, run: &Run) -> Vec<String> {
    let mut notes = Vec::new();
    let minutes = load.trace.len();
    if load.trace.gaps() > 0 {
        let percent = load.trace.gaps() * 100 / minutes;
        notes.push(format!(
            "{} of {minutes} minutes ({percent}%) are unknown: policies get no samples for them, and no \
             actions are counted",
            load.trace.gaps()
        ));
    }
    let scored = minutes
        - (run
            .settings(&load.trace)
            .map_or(0, |settings| settings.warmup_days)
            * 24
            * 60)
            .min(minutes);
    if scored < 24 * 60 {
        notes.push(format!(
            "only {} {} counted, less than a day; scaled to 30 days, this is not representative of a month",
            counted(scored, "minute"),
            if scored == 1 { "is" } else { "are" }
        ));
    }
    notes
}

fn score(run: &Run, progress: impl Fn(usize, usize) + Sync) -> anyhow::Result<Figures> {
    let settings = run
        .loads
        .iter()
        .map(|load| run.settings(&load.trace))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let jobs: Vec<(usize, Contender)> = (0..run.loads.len())
        .flat_map(|load| Contender::ALL.map(|contender| (load, contender)))
        .collect();
    let scores = work::in_parallel(&jobs, progress, |&(load, contender)| {
        capacity_backtest::run(&run.loads[load].trace, contender, &settings[load])
    });
    let traces = run.loads.iter().zip(scores.chunks(Contender::ALL.len()));
    let traces = traces.map(|(load, scores)| TraceFigures::new(&load.name, scores, run));
    Ok(Figures::new(traces.collect()))
}

/// Returns the minute-by-minute course of `break-even` on each load.
fn courses(run: &Run) -> anyhow::Result<Vec<Course>> {
    let course = |load: &Load| {
        let settings = run.settings(&load.trace)?;
        Ok(capacity_backtest::run_recorded(&load.trace, Contender::BreakEven, &settings).1)
    };
    run.loads.iter().map(course).collect()
}
