//! `report`: shows the cost and savings of capacity, from the rows of the ledger.

mod page;
mod sheets;
mod shown;
mod text;

use std::time::Duration;

use anyhow::Context;
use capacity_ledger::Ledger;
use capacity_report::{Query, digest, fetch_bill, gather, reconcile};
use capacity_settings::{Needs, Settings};
use cloud_ops_client::Client;
use human_text::chain;
use slack_notifier::Webhook;

use crate::arguments::{Global, Report};
use crate::exit::{Exit, print, tell};
use crate::ledger;
use crate::output::Output;
use crate::setup;
use crate::terminal::Terminal;

use shown::Shown;

/// Timeout for the webhook.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn run(flags: &Report, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let mut global = global.clone();
    if let Some(price) = &flags.price {
        global
            .given
            .push(("PRICE_PER_MILLION_ACTIONS", price.clone(), "--price"));
    }
    let settings = setup::settings(&global, Needs::default())?;
    let location = ledger::location_of(&settings)?;
    // Check this first, before the minutes are read.
    let client = flags.reconcile.then(|| ops_client(&settings)).transpose()?;
    let webhook = flags.notify.then(|| webhook(&settings)).transpose()?;
    let ledger = Ledger::open_read_only(&location).await?;
    let shown = make(flags, &settings, &ledger, client, terminal).await?;
    show(&global, &shown, terminal)?;
    if let Some(webhook) = webhook {
        notify(&webhook, &shown.report, settings.dry_run).await?;
    }
    let unexplained = shown.bill.as_ref().map_or(0, |bill| bill.unexplained);
    Ok(if unexplained > 0 { Exit::Failed } else { Exit::Done })
}

fn ops_client(settings: &Settings) -> anyhow::Result<Client> {
    let config = settings.cloud_ops.clone().context(
        "--reconcile needs TEMPORAL_CLOUD_OPS_API_KEY: the key of a service account with the account role Finance Admin or Owner",
    )?;
    Ok(Client::new(config))
}

fn webhook(settings: &Settings) -> anyhow::Result<Webhook> {
    let config = settings
        .slack
        .clone()
        .context("--notify needs SLACK_WEBHOOK_URL: set it to the incoming webhook of the channel")?;
    Ok(Webhook::new(config))
}

async fn make(
    flags: &Report,
    settings: &Settings,
    ledger: &Ledger,
    client: Option<Client>,
    terminal: Terminal,
) -> anyhow::Result<Shown> {
    let bar = terminal.progress("reading the ledger");
    let now = ledger::time_of(ledger).await?;
    let query = Query {
        from: flags.from,
        to: flags.to,
        account: flags.account.clone(),
        namespaces: flags.namespaces.clone(),
        now,
    };
    let gathered = gather(ledger, &query, |progress| {
        bar.set_message(format!(
            "reading the ledger: {} of {} hours",
            progress.hours, progress.of
        ));
    });
    let gathered = gathered.await?;
    bar.set_message("replaying the other policies");
    let price = &settings.rules.prices;
    // The replays use the CPU for seconds and would block the progress of other tasks.
    let report = tokio::task::block_in_place(|| {
        capacity_report::Report::of(gathered, price, |done, of| {
            bar.set_message(format!("replaying the other policies: {done} of {of} runs done"));
        })
    });
    let figures = flags.explain_figures.then(|| report.figures());
    let bill = match client {
        None => None,
        Some(client) => {
            let fetched =
                fetch_bill(&client, report.from, report.to, now, |what| bar.set_message(what)).await?;
            Some(reconcile(
                &report,
                &fetched.billing_report_id,
                &fetched.bill,
                fetched.made,
            )?)
        }
    };
    bar.finish_and_clear();
    Ok(Shown {
        report,
        figures,
        bill,
    })
}

fn show(global: &Global, shown: &Shown, terminal: Terminal) -> anyhow::Result<()> {
    match global.output() {
        Output::Table => print(&text::table(shown, terminal)),
        Output::Markdown => print(&text::markdown(shown)),
        Output::Json => print(&serde_json::to_string_pretty(&text::json(shown)?)?),
        Output::Csv => print(text::csv(shown)?.trim_end()),
        Output::Html => print(&page::page(shown)?),
        Output::Jsonl | Output::None => Ok(()),
    }
}

async fn notify(webhook: &Webhook, report: &capacity_report::Report, dry_run: bool) -> anyhow::Result<()> {
    let message = digest(report);
    if dry_run {
        let lines: Vec<&str> = message
            .sections
            .iter()
            .flat_map(|section| &section.lines)
            .map(String::as_str)
            .collect();
        tell(&format!(
            "would notify {} (DRY_RUN_MODE is on): {}\n  {}",
            webhook.host(),
            message.title,
            lines.join("\n  ")
        ));
        return Ok(());
    }
    match tokio::time::timeout(NOTIFY_TIMEOUT, webhook.post(&message)).await {
        Ok(Ok(())) => {
            tell("the channel was notified");
            Ok(())
        }
        Ok(Err(error)) => anyhow::bail!("the channel was not notified: {}", chain(&error)),
        Err(_) => anyhow::bail!(
            "the channel was not notified: no response from {} within {} s",
            webhook.host(),
            NOTIFY_TIMEOUT.as_secs()
        ),
    }
}
