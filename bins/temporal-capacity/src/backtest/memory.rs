//! `backtest --from`: reads the load of every namespace from a ledger or from Prometheus, and calculates
//! what each policy would have cost.
//!
//! The time range is read in parts, and each minute of a namespace takes four bytes of memory. If an account
//! is too large for that, its namespaces are read and scored in batches.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use capacity_autopilot::{
    RecordedMinute, RecordedNotes, minutes_of_ledger, minutes_of_prometheus, namespaces_of_prometheus,
};
use capacity_backtest::{Contender, Rebuild, Score};
use capacity_engine::{NamespaceId, NamespacePatterns};
use capacity_ledger::Ledger;
use capacity_settings::Settings;
use human_text::{at_minute, counted};
use jiff::{SignedDuration, Timestamp};
use prometheus_reader::{PrometheusClient, Span};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::figures::{Figures, TraceFigures, aligned, number, whole};
use super::run::{Load, Run};
use super::work;
use crate::arguments::{Backtest, BacktestSource};
use crate::exit::tell;
use crate::ledger::time_of;
use crate::tables;
use crate::terminal::Terminal;

/// Maximum number of minutes in memory, over all namespaces, at four bytes each.
const MOST_MINUTES: usize = 48_000_000;

/// Maximum number of namespaces in an HTML report, which draws a chart for each.
const MOST_CHARTS: usize = 20;

/// Minutes per day.
const DAY: usize = 24 * 60;

/// Maximum number of namespace names in a note.
const NAMED: usize = 5;

/// The results of one namespace.
struct Scored {
    figures: TraceFigures,
    coverage: Coverage,
    /// Its load, if a chart is drawn.
    load: Option<Load>,
}

/// The results of all namespaces, sorted by what break-even saves, highest first.
pub(super) struct Account {
    source: String,
    span: Span,
    /// In the same order as `figures`.
    coverages: Vec<Coverage>,
    pub(super) figures: Figures,
    /// The loads for which charts are drawn.
    pub(super) loads: Vec<Load>,
}

/// The amount of data behind the figures of a namespace.
struct Coverage {
    /// First hour with data, in minutes since 1970-01-01T00:00Z.
    first: i64,
    /// Number of minutes from `first` to the last known minute.
    minutes: usize,
    known: usize,
    /// Number of known minutes whose demand was reconstructed.
    rebuilt: usize,
    /// Number of known minutes after the warm-up.
    counted: usize,
}

impl Coverage {
    fn is_less_than_a_day(&self) -> bool {
        self.counted < DAY
    }
}

/// The source of the minutes.
enum Source {
    Ledger(Ledger),
    Prometheus(Box<PrometheusClient>),
}

impl Source {
    fn open(from: BacktestSource, settings: &Settings, runtime: &Runtime) -> anyhow::Result<Self> {
        match from {
            BacktestSource::Ledger => {
                let location = settings.ledger.as_ref().context(
                    "LEDGER_URL is not set, so there are no recorded minutes to read. Set it to the ledger of your worker, or use \
                     --from prometheus",
                )?;
                let ledger = runtime.block_on(Ledger::open_read_only(location))?;
                Ok(Self::Ledger(ledger))
            }
            BacktestSource::Prometheus => {
                let config = settings.prometheus.clone().context("PROMETHEUS_URL is not set")?;
                Ok(Self::Prometheus(Box::new(PrometheusClient::new(config)?)))
            }
        }
    }

    /// Returns the time until which it has minutes.
    async fn now(&self) -> anyhow::Result<Timestamp> {
        match self {
            Self::Ledger(ledger) => time_of(ledger).await,
            Self::Prometheus(_) => Ok(Timestamp::now()),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Ledger(ledger) => format!("the ledger {}", ledger.location()),
            Self::Prometheus(client) => format!("the Prometheus at {}", client.config().base_url()),
        }
    }
}

/// Days of load to read, unless `--days` says otherwise.
const DAYS: u32 = 30;

/// Returns the requested time range, until now by default.
fn span(days: u32, to: Timestamp) -> anyhow::Result<Span> {
    let from = to
        .checked_sub(SignedDuration::from_hours(24 * i64::from(days)))
        .with_context(|| format!("--days {days} reaches back too far"))?;
    Ok(Span { from, to })
}

/// Reads and scores every namespace that matches.
pub(super) fn account(
    flags: &Backtest,
    from: BacktestSource,
    glob: Option<&str>,
    settings: &Settings,
    run: &Run,
    (draws, terminal): (bool, Terminal),
) -> anyhow::Result<Account> {
    // Only for reading; the replays run on threads of their own.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let patterns = glob.map(|glob| NamespacePatterns::try_new(&[glob])).transpose()?;
    let source = Source::open(from, settings, &runtime)?;
    let (days, to) = (flags.days.unwrap_or(DAYS), flags.to);
    let to = to.map_or_else(|| runtime.block_on(source.now()), Ok)?;
    let reading = Reading {
        span: span(days, to)?,
        source,
        most: MOST_MINUTES / (usize::try_from(days)? * DAY),
        patterns,
        runtime,
        terminal,
    };
    let mut scored = Vec::new();
    reading.each_batch(|batch| {
        ensure!(
            // Before the replays, so that a refusal comes early.
            !draws || scored.len() + batch.len() <= MOST_CHARTS,
            "an HTML report shows at most {MOST_CHARTS} namespaces, and there are more. Choose some with --namespace GLOB, or use \
             another output"
        );
        scored.extend(score(&batch, run, draws, terminal)?);
        Ok(())
    })?;
    if scored.is_empty() {
        bail!(reading.nothing(glob)?);
    }
    let account = Account::new(reading.source.name(), reading.span, scored);
    reading.say_where_data_begins()?;
    account.say_what_is_thin();
    Ok(account)
}

/// Loads, with the names of their namespaces.
type Batch = Vec<(Arc<str>, Rebuild)>;

struct Reading {
    source: Source,
    span: Span,
    /// Maximum number of namespaces per batch.
    most: usize,
    patterns: Option<NamespacePatterns>,
    runtime: Runtime,
    terminal: Terminal,
}

impl Reading {
    fn matches(&self, name: &str) -> bool {
        self.patterns.as_ref().is_none_or(|patterns| {
            name.parse::<NamespaceId>()
                .is_ok_and(|namespace| patterns.matches(&namespace))
        })
    }

    fn minutes(&self) -> usize {
        usize::try_from(self.span.to.duration_since(self.span.from).as_mins()).unwrap_or(0)
    }

    /// Calls `each` with every batch of namespaces.
    fn each_batch(&self, mut each: impl FnMut(Batch) -> anyhow::Result<()>) -> anyhow::Result<()> {
        match &self.source {
            Source::Ledger(ledger) => self.batches_of_ledger(ledger, &mut each),
            Source::Prometheus(client) => self.batches_of_prometheus(client, &mut each),
        }
    }

    /// Namespaces that do not fit are read in another pass, because only reading a ledger shows which
    /// namespaces it contains.
    fn batches_of_ledger(
        &self,
        ledger: &Ledger,
        each: &mut dyn FnMut(Batch) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut done: HashSet<Arc<str>> = HashSet::new();
        loop {
            let mut batch = Collected::new(self);
            let reading = minutes_of_ledger(ledger, self.span.from, self.span.to, |minute| {
                if !done.contains(minute.namespace) {
                    batch.take(&minute);
                }
            });
            self.runtime.block_on(reading)?;
            // Read before `finish` consumes the batch.
            let has_more = batch.is_full_for_some;
            let batch = batch.finish();
            done.extend(batch.iter().map(|(name, _)| Arc::clone(name)));
            each(batch)?;
            if !has_more {
                return Ok(());
            }
        }
    }

    fn batches_of_prometheus(
        &self,
        client: &PrometheusClient,
        each: &mut dyn FnMut(Batch) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut names = self
            .runtime
            .block_on(namespaces_of_prometheus(client, self.span))?;
        names.retain(|name| self.matches(name.as_str()));
        let mut notes = RecordedNotes::default();
        for names in names.chunks(self.most.max(1)) {
            let mut batch = Collected::new(self);
            let reading = minutes_of_prometheus(client, names, self.span, |minute| batch.take(&minute));
            let more = self.runtime.block_on(reading)?;
            notes.has_scrape_times |= more.has_scrape_times;
            // Batches read the same range, so the spans of the first one stand for all.
            if notes.partial.is_empty() {
                notes.partial = more.partial;
            }
            each(batch.finish())?;
        }
        for span in &notes.partial {
            tell(&format!(
                "Prometheus returned only partial data for {} to {}; these minutes count as unknown",
                at_minute(span.from),
                at_minute(span.to)
            ));
        }
        if notes.has_scrape_times {
            tell(
                "Prometheus stored the times of its scrapes (`honor_timestamps: false`), so minutes are approximate; run \
                 `temporal-capacity doctor` for the fix",
            );
        }
        Ok(())
    }

    /// Returns the message for a range without data.
    fn nothing(&self, glob: Option<&str>) -> anyhow::Result<String> {
        let matching = glob.map_or_else(String::new, |glob| format!(" of namespaces that match `{glob}`"));
        let nothing = format!(
            "{} has no minutes{matching} from {} to {}",
            self.source.name(),
            at_minute(self.span.from),
            at_minute(self.span.to)
        );
        Ok(match &self.source {
            Source::Ledger(ledger) => {
                let info = self.runtime.block_on(ledger.info())?;
                match info.oldest_minute.zip(info.newest_minute) {
                    Some((oldest, newest)) => format!(
                        "{nothing}; it has minutes from {} to {}. Choose another range with --days and --to",
                        at_minute(oldest),
                        at_minute(newest)
                    ),
                    None => format!(
                        "{nothing}, or at any other time. Run `capacity-worker` with LEDGER_URL to record them; \
                         minutes that were aggregated into hours cannot be used"
                    ),
                }
            }
            Source::Prometheus(_) => format!(
                "{nothing}. Choose another range with --days and --to, and check what it scrapes with `temporal-capacity doctor`"
            ),
        })
    }

    /// Reports where the minutes begin. Minutes that were aggregated into hours cannot be restored.
    fn say_where_data_begins(&self) -> anyhow::Result<()> {
        let Source::Ledger(ledger) = &self.source else {
            return Ok(());
        };
        let info = self.runtime.block_on(ledger.info())?;
        let Some(oldest) = info.oldest_minute else {
            return Ok(());
        };
        if oldest.duration_since(self.span.from) > SignedDuration::from_hours(1) {
            tell(&format!(
                "the ledger has minutes from {} on; older minutes were not recorded or have been aggregated \
                 into hours, which a backtest cannot use (LEDGER_KEEP_MINUTES)",
                at_minute(oldest)
            ));
        }
        Ok(())
    }
}

/// Collects loads while they are read.
struct Collected<'a> {
    reading: &'a Reading,
    loads: HashMap<Arc<str>, Rebuild>,
    /// Names of namespaces that do not match the filter.
    // Kept, so that a name is not matched again for each of its minutes.
    others: HashSet<Arc<str>>,
    /// Whether a namespace was left out because the batch was full.
    is_full_for_some: bool,
    bar: indicatif::ProgressBar,
    minute: i64,
}

impl<'a> Collected<'a> {
    fn new(reading: &'a Reading) -> Self {
        Self {
            reading,
            loads: HashMap::new(),
            others: HashSet::new(),
            is_full_for_some: false,
            bar: reading.terminal.progress("reading"),
            minute: 0,
        }
    }

    fn take(&mut self, minute: &RecordedMinute<'_>) {
        if minute.minute != self.minute {
            self.minute = minute.minute;
            self.say_progress();
        }
        if let Some(load) = self.loads.get_mut(minute.namespace) {
            load.add(minute.minute, minute.actions);
        } else if !self.others.contains(minute.namespace) {
            self.begin(minute);
        }
    }

    fn begin(&mut self, minute: &RecordedMinute<'_>) {
        let name: Arc<str> = Arc::from(minute.namespace);
        if !self.reading.matches(&name) {
            self.others.insert(name);
        // At least one, or a range that is too long for the limit would be read forever.
        } else if self.loads.len() < self.reading.most.max(1) {
            let mut load = Rebuild::starting_at(minute.minute, self.reading.minutes());
            load.add(minute.minute, minute.actions);
            self.loads.insert(name, load);
        } else {
            self.is_full_for_some = true;
        }
    }

    fn say_progress(&self) {
        if self.minute % 60 == 0
            && let Ok(time) = Timestamp::from_second(self.minute * 60)
        {
            self.bar.set_message(format!(
                "reading: {} namespaces up to {}",
                self.loads.len(),
                at_minute(time)
            ));
        }
    }

    fn finish(self) -> Batch {
        self.bar.finish_and_clear();
        self.loads.into_iter().collect()
    }
}

/// Replays every load with every policy. Each load is in memory only during its replay.
fn score(
    batch: &[(Arc<str>, Rebuild)],
    run: &Run,
    draws: bool,
    terminal: Terminal,
) -> anyhow::Result<Vec<Scored>> {
    let bar = terminal.progress("replaying");
    let progress = |done, of| bar.set_message(format!("replaying: {done} of {of} namespaces done"));
    let scored = work::in_parallel(batch, progress, |(name, load)| {
        let rebuilt = load.load();
        let settings = run.settings(&rebuilt.trace)?;
        let scores: Vec<Score> = Contender::ALL
            .map(|contender| capacity_backtest::run(&rebuilt.trace, contender, &settings))
            .to_vec();
        let warm_up = settings.warmup_days * DAY;
        Ok(Scored {
            figures: TraceFigures::new(name, &scores, run),
            coverage: Coverage {
                first: rebuilt.trace.first_minute(),
                minutes: rebuilt.trace.len(),
                known: rebuilt.known_minutes,
                rebuilt: rebuilt.rebuilt_minutes,
                counted: rebuilt.trace.minutes().skip(warm_up).flatten().count(),
            },
            load: draws.then(|| Load {
                name: name.to_string(),
                trace: rebuilt.trace,
            }),
        })
    });
    bar.finish_and_clear();
    scored.into_iter().collect()
}

impl Account {
    fn new(source: String, span: Span, mut scored: Vec<Scored>) -> Self {
        // By name last: the loads come out of a map in any order, and the output should not change between
        // runs.
        scored.sort_by_cached_key(|scored| (-saved(&scored.figures), scored.figures.name.clone()));
        let mut coverages = Vec::with_capacity(scored.len());
        let mut figures = Vec::with_capacity(scored.len());
        let mut loads = Vec::new();
        for scored in scored {
            coverages.push(scored.coverage);
            figures.push(scored.figures);
            loads.extend(scored.load);
        }
        Self {
            source,
            span,
            coverages,
            figures: Figures::new(figures),
            loads,
        }
    }

    /// Returns each namespace with the amount of data behind its figures.
    fn namespaces(&self) -> impl Iterator<Item = (&TraceFigures, &Coverage)> {
        self.figures.traces.iter().zip(&self.coverages)
    }

    /// Returns a one-line summary of the data.
    pub(super) fn summary(&self) -> String {
        format!(
            "{} from {}, {} to {}",
            counted(self.coverages.len(), "namespace"),
            self.source,
            at_minute(self.span.from),
            at_minute(self.span.to)
        )
    }

    /// Lists namespaces whose figures are based on too little data.
    fn say_what_is_thin(&self) {
        let thin: Vec<&str> = self
            .namespaces()
            .filter(|(_, coverage)| coverage.is_less_than_a_day())
            .map(|(figures, _)| figures.name.as_str())
            .collect();
        if thin.is_empty() {
            return;
        }
        let named = thin.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        let more = thin.len().saturating_sub(NAMED);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        tell(&format!(
            "less than a day of data is counted for {named}{more}: scaled to 30 days, that is not representative of a month, so it is excluded from the total"
        ));
    }

    const HEADER: [&str; 9] = [
        "namespace",
        "days",
        "known %",
        "rebuilt %",
        "on-demand $",
        "threshold $",
        "break-even $",
        "saves $",
        "changes",
    ];

    pub(super) fn table(&self, terminal: Terminal) -> String {
        let mut table = tables::table_with(Self::HEADER, terminal);
        let mut total = [Decimal::ZERO; 5];
        let mut summed = 0;
        for (figures, coverage) in self.namespaces() {
            let money = money(figures);
            let mark = if coverage.is_less_than_a_day() { "*" } else { "" };
            let begin = [
                figures.name.clone(),
                format!("{}{mark}", days(coverage.minutes)),
                share(coverage.known, coverage.minutes),
                share(coverage.rebuilt, coverage.known),
            ];
            table.add_row(aligned(begin.into_iter().chain(money.map(signed))));
            if !coverage.is_less_than_a_day() {
                summed += 1;
                for (sum, value) in total.iter_mut().zip(money) {
                    *sum += value;
                }
            }
        }
        let begin = [
            format!("total of {summed}"),
            String::new(),
            String::new(),
            String::new(),
        ];
        table.add_row(aligned(begin.into_iter().chain(total.map(signed))));
        let mut text = format!(
            "What each policy would have cost, per 30 days; demand of throttled minutes is reconstructed\n{}",
            tables::lines_of_figures(&table, terminal)
        );
        if summed < self.coverages.len() {
            text.push_str(
                "* less than a day of data: not representative of a month, excluded from the total\n",
            );
        }
        text
    }

    /// Returns the amount of data for each namespace, sorted like the figures.
    pub(super) fn json(&self) -> Value {
        let namespaces = self.namespaces().map(|(figures, coverage)| {
            let first = Timestamp::from_second(coverage.first * 60).ok();
            json!({
                "namespace": figures.name,
                "data_from": first.map(|time| time.to_string()),
                "days": number(Decimal::from(coverage.minutes) / Decimal::from(DAY)),
                "known_minutes": coverage.known,
                "known_share": number(ratio(coverage.known, coverage.minutes)),
                "rebuilt_share": number(ratio(coverage.rebuilt, coverage.known)),
                "counted_minutes": coverage.counted,
                "less_than_a_day": coverage.is_less_than_a_day(),
                "saved_usd": number(saved(figures)),
            })
        });
        namespaces.collect()
    }

    pub(super) fn span_json(&self) -> Value {
        json!({"from": self.span.from.to_string(), "to": self.span.to.to_string()})
    }
}

fn total_of(figures: &TraceFigures, policy: Contender) -> Decimal {
    let row = figures.rows.iter().find(|row| row.policy == policy);
    row.map(|row| row.dollars.total).unwrap_or_default()
}

/// Returns what break-even saves compared with on-demand only, in dollars, including the cost of delays.
fn saved(figures: &TraceFigures) -> Decimal {
    total_of(figures, Contender::OnDemand) - total_of(figures, Contender::BreakEven)
}

/// Returns the costs of on-demand, threshold and break-even, what break-even saves, and its number of
/// changes.
fn money(figures: &TraceFigures) -> [Decimal; 5] {
    let changes = figures.rows.iter().find(|row| row.policy == Contender::BreakEven);
    [
        total_of(figures, Contender::OnDemand),
        total_of(figures, Contender::Threshold),
        total_of(figures, Contender::BreakEven),
        saved(figures),
        changes.map(|row| row.dollars.changes).unwrap_or_default(),
    ]
}

fn signed(value: Decimal) -> String {
    let text = whole(value);
    if value.round() < Decimal::ZERO {
        format!("-{text}")
    } else {
        text
    }
}

fn days(minutes: usize) -> String {
    format!("{:.1}", Decimal::from(minutes) / Decimal::from(DAY))
}

fn ratio(part: usize, of: usize) -> Decimal {
    Decimal::from(part) / Decimal::from(of.max(1))
}

fn share(part: usize, of: usize) -> String {
    format!("{:.1}", ratio(part, of) * Decimal::ONE_HUNDRED)
}
