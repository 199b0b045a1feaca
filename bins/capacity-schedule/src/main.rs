//! Command line that manages the schedule of the temporal-capacity autopilot.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use capacity_engine::PolicyRef;
use capacity_settings::{Inputs, Needs, Settings};
use capacity_workflows::controller::{Controller, Trigger};
use capacity_workflows::schedule::{CreateOutcome, Schedule, ScheduleError, ScheduleOptions, Shown};
use capacity_workflows::{ConnectionSettings, Installation, Opened, PauseKind, connection, pauses};
use clap::{Args, Parser, Subcommand};
use human_text::{noun, parse_duration};
use jiff::tz::TimeZone;
use process_edge::{flush_errors, report_panics, write_error, write_output};
use temporalio_client::Client;

/// Manage the schedule that starts evaluations: minute 45 of every hour, or minutes 55 and 0 if POLICY is
/// break-even, because an hour is billed at its highest capacity.
#[derive(Debug, Parser)]
#[command(name = "capacity-schedule", version = process_edge::version(), max_term_width = 100)]
#[command(after_help = "\
Examples:
  capacity-schedule                                       create or update the schedule
  capacity-schedule create --hours 8-17 --time-zone Europe/Berlin      business hours
  capacity-schedule create --minutes 15,45                every 30 minutes
  capacity-schedule pause --reason 'rotating keys'        stop all changes

Connection: TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, and TEMPORAL_API_KEY or TEMPORAL_CERT_PATH with TEMPORAL_KEY_PATH.
Exit codes: 0 done; 1 any error, including usage errors.")]
struct Arguments {
    /// Command to run; without one, the schedule is created.
    #[command(subcommand)]
    command: Option<Command>,
    /// Override a setting by its name; repeatable.
    #[arg(long = "set", global = true, value_name = "NAME=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create or update the schedule; existing pauses and notes are kept.
    Create(Times),
    /// Show the schedule and its next five runs.
    Show,
    /// Pause changes: evaluations continue but change nothing. Works without a worker, schedule or controller; extends a pause that
    /// ends earlier. Applies to workers, and to `temporal-capacity apply` if `TEMPORAL_ADDRESS` and `TEMPORAL_NAMESPACE` are set.
    Pause {
        /// Reason for the pause; `status` and notifications show it.
        #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        reason: String,
        /// Pause scaling up only.
        #[arg(long, conflicts_with = "scale_down")]
        scale_up: bool,
        /// Pause scaling down only.
        #[arg(long)]
        scale_down: bool,
        /// End the pause after this duration, such as 2h [default: until `resume`].
        #[arg(long = "for", value_name = "DURATION")]
        ends_after: Option<String>,
    },
    /// End all manual pauses, resume the schedule, and evaluate.
    Resume {
        /// Also end the pause caused by an unexpected spec change; check the spec first.
        #[arg(long)]
        spec_checked: bool,
    },
    /// Start an evaluation now.
    Trigger,
    /// Delete the schedule; the controller keeps running.
    Delete,
}

#[derive(Debug, Args)]
struct Times {
    /// Minutes of the hour, separated by commas [default: 45, or 0,55 if POLICY is break-even].
    #[arg(long, value_name = "LIST")]
    minutes: Option<String>,
    /// Hours of the day, such as 8-17 or 6,12,18 [default: all].
    #[arg(long, value_name = "LIST")]
    hours: Option<String>,
    /// IANA name of the time zone that --hours and --minutes refer to.
    #[arg(long, default_value = "UTC", value_name = "ZONE")]
    time_zone: String,
    /// Delay each run by a random time up to this duration.
    #[arg(long, default_value = "0s", value_name = "DURATION")]
    jitter: String,
    /// Catch up on runs missed within this duration.
    #[arg(long, default_value = "10m", value_name = "DURATION")]
    catch_up: String,
}

impl Default for Times {
    fn default() -> Self {
        let text = str::to_owned;
        Self {
            minutes: None,
            hours: None,
            time_zone: text("UTC"),
            jitter: text("0s"),
            catch_up: text("10m"),
        }
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // If the pipe is closed, the exit code still says what happened.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    report_panics();
    let code = match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("error: {error:#}"));
            ExitCode::from(1)
        }
    };
    flush_errors(LAST_LINES);
    code
}

/// How long to wait at exit for the last lines to be written to standard error, because its reader may have
/// stopped reading.
const LAST_LINES: Duration = Duration::from_secs(10);

#[tokio::main]
async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let settings = settings(&arguments.set)?;
    let installation = Installation::of(&settings.home);
    // Check the arguments before connecting.
    let command = arguments
        .command
        .unwrap_or_else(|| Command::Create(Times::default()));
    let options = match &command {
        Command::Create(times) => Some(times.options(&settings.rules.policy)?),
        _ => None,
    };
    let pause_ends_after = match &command {
        Command::Pause {
            reason, ends_after, ..
        } => {
            anyhow::ensure!(
                !reason.trim().is_empty(),
                "--reason must not be empty: explain why changes are paused"
            );
            ends_after
                .as_deref()
                .map(pause_span)
                .transpose()
                .context("--for")?
        }
        _ => None,
    };
    let (connection, client) = connect(&settings).await?;
    let schedule = Schedule::new(&client, &installation);
    match command {
        Command::Create(_) => {
            let options = options.context("the times were parsed above")?;
            connection.check_namespace(&client).await?;
            // No warning is needed if the policy itself chose the minutes.
            let asked = settings.rules.policy.evaluation_minutes();
            if options.minutes != asked
                && let Some(oddity) = options.oddity()
            {
                tell(&format!("warning: {oddity}"));
            }
            match schedule.create(&options).await? {
                CreateOutcome::Created => report("created"),
                _ => report("updated the existing schedule to these times"),
            }
            report(&text_of(&schedule.show().await?));
        }
        // This command only prints, so a failed write is an error.
        Command::Show => {
            let shown = text_of(&schedule.show().await?);
            write_output(&shown).context("cannot write to standard output")?;
        }
        Command::Pause {
            reason,
            scale_up,
            scale_down,
            ..
        } => {
            let kind = match (scale_up, scale_down) {
                // Clap rejects both flags together.
                (true, _) => PauseKind::ScaleUp,
                (_, true) => PauseKind::ScaleDown,
                _ => PauseKind::All,
            };
            pause_changes(&client, &installation, kind, &reason, pause_ends_after).await?;
        }
        Command::Resume { spec_checked } => resume_changes(&client, &installation, spec_checked).await?,
        Command::Trigger => {
            schedule.trigger().await?;
            report("triggered");
        }
        Command::Delete => {
            schedule.delete().await?;
            report(
                "deleted the schedule; the controller keeps running until you stop it with `temporal workflow terminate`",
            );
        }
    }
    Ok(())
}

/// Pauses changes first and the schedule second. Reports only pauses that are known to be in effect.
async fn pause_changes(
    client: &Client,
    installation: &Installation,
    kind: PauseKind,
    reason: &str,
    ends_after: Option<Duration>,
) -> anyhow::Result<()> {
    let opened = pauses::open(client, installation, kind, reason, &who(), ends_after)
        .await
        // The pause comes before the schedule: it also stops the changes of a running evaluation.
        .context("nothing is paused")?;
    let what = match kind {
        PauseKind::ScaleUp => "scaling up",
        PauseKind::ScaleDown => "scaling down",
        _ => "all changes",
    };
    match opened {
        Opened::Already(known) => {
            report(&format!(
                "nothing was changed: an existing pause already lasts at least that long: {}",
                known.sentence()
            ));
            return Ok(());
        }
        Opened::Extended(before) => report(&format!(
            "paused: {what}; this replaces a pause that ended earlier: {}",
            before.sentence()
        )),
        _ => report(&format!("paused: {what}")),
    }
    // The note on the schedule is informational; the pause works without it.
    if kind == PauseKind::All && ends_after.is_none() {
        match Schedule::new(client, installation).pause(reason).await {
            Ok(()) | Err(ScheduleError::Missing) => {}
            Err(error) => tell(&format!(
                "warning: changes are paused, but the schedule itself was not: {error}"
            )),
        }
    }
    Ok(())
}

async fn resume_changes(
    client: &Client,
    installation: &Installation,
    spec_checked: bool,
) -> anyhow::Result<()> {
    let mut ended = false;
    for kind in [PauseKind::All, PauseKind::ScaleUp, PauseKind::ScaleDown] {
        ended |= pauses::close(client, installation, kind, &who()).await?;
    }
    if spec_checked {
        ended |= pauses::close(client, installation, PauseKind::Spec, &who()).await?;
    }
    match Schedule::new(client, installation)
        .resume("resumed by capacity-schedule")
        .await
    {
        Ok(()) | Err(ScheduleError::Missing) => {}
        Err(error) => tell(&format!("warning: the schedule was not resumed: {error}")),
    }
    // Only now: a pause that needs a check of the spec must not keep the others from ending.
    if let Some(spec) = pauses::read(client, installation, PauseKind::Spec).await?
        && spec.seen.open
    {
        anyhow::bail!(
            "still paused: {}. Check the spec in Temporal Cloud, then run `capacity-schedule resume \
             --spec-checked`",
            spec.sentence()
        );
    }
    report(if ended { "resumed" } else { "nothing was paused" });
    if let Err(problem) = Controller::new(client, installation)
        .trigger(Trigger::Evaluation)
        .await
    {
        tell(&format!(
            "warning: no evaluation was triggered ({problem}); changes resume with the next scheduled one"
        ));
    }
    Ok(())
}

/// Returns the user and host that a pause is attributed to.
fn who() -> String {
    let user = ["USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let host = gethostname::gethostname();
    match user {
        Some(user) => format!("{user}@{}", host.display()),
        None => format!("capacity-schedule on {}", host.display()),
    }
}

fn settings(set: &[String]) -> anyhow::Result<Settings> {
    let mut inputs = Inputs::from_process();
    for assignment in set {
        let (name, value) = assignment
            .split_once('=')
            .with_context(|| format!("--set takes NAME=VALUE, not `{assignment}`"))?;
        inputs
            .flags
            .push((name.trim().to_owned(), value.to_owned(), "--set".to_owned()));
    }
    let settings = capacity_settings::load(
        &inputs,
        Needs {
            home: true,
            ..Needs::default()
        },
    )?;
    for warning in &settings.warnings {
        tell(&format!("warning: {warning}"));
    }
    Ok(settings)
}

async fn connect(settings: &Settings) -> anyhow::Result<(ConnectionSettings, Client)> {
    let identity = format!("capacity-schedule@{}", std::process::id());
    let connection = connection(&settings.home, identity)?;
    let client = connection.connect().await?;
    Ok((connection, client))
}

impl Times {
    fn options(&self, policy: &PolicyRef) -> anyhow::Result<ScheduleOptions> {
        let minutes = match &self.minutes {
            Some(minutes) => numbers(minutes, 59).context("--minutes")?,
            None => policy.evaluation_minutes().to_vec(),
        };
        anyhow::ensure!(
            !minutes.is_empty(),
            "--minutes: specify at least one minute of the hour"
        );
        let hours = self
            .hours
            .as_deref()
            .map(|hours| numbers(hours, 23))
            .transpose()
            .context("--hours")?;
        TimeZone::get(&self.time_zone).with_context(|| {
            format!(
                "--time-zone {}: unknown time zone; use an IANA name such as Europe/Berlin",
                self.time_zone
            )
        })?;
        let mut options = ScheduleOptions::hourly()
            .with_minutes(minutes)
            .with_hours(hours.unwrap_or_default())
            .with_time_zone(&self.time_zone);
        options.jitter = parse_duration(&self.jitter).context("--jitter")?;
        options.catch_up = parse_duration(&self.catch_up).context("--catch-up")?;
        Ok(options)
    }
}

/// Parses a range such as `8-17` or a list such as `6,12,18`.
fn numbers(text: &str, highest: u8) -> anyhow::Result<Vec<u8>> {
    let number = |text: &str| -> anyhow::Result<u8> {
        let number = text.trim().parse().ok().filter(|number| *number <= highest);
        number.with_context(|| format!("`{text}`: use numbers from 0 to {highest}, such as 15,45 or 8-17"))
    };
    let mut numbers = Vec::new();
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        match part.split_once('-') {
            None => numbers.push(number(part)?),
            Some((from, to)) => {
                let (from, to) = (number(from)?, number(to)?);
                anyhow::ensure!(from <= to, "`{part}`: a range must not end before it starts");
                numbers.extend(from..=to);
            }
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// Parses how long a pause lasts, which must be at least a second.
fn pause_span(text: &str) -> anyhow::Result<Duration> {
    let span = parse_duration(text)?;
    anyhow::ensure!(
        span >= Duration::from_secs(1),
        "`{text}`: a pause lasts at least 1s; omit --for to pause until `resume`"
    );
    Ok(span)
}

fn text_of(shown: &Shown) -> String {
    let state = if shown.paused {
        format!("paused ({})", shown.note)
    } else {
        "running".to_owned()
    };
    let mut text = format!(
        "state: {state}; {}\n\
         runs: {} started, {} skipped because one was still running, {} missed\n\
         next:\n",
        times_of(shown),
        shown.runs,
        shown.skipped,
        shown.missed
    );
    // The server's time zone database may be newer than the one here.
    let zone = TimeZone::get(&shown.time_zone).unwrap_or(TimeZone::UTC);
    for run in &shown.next {
        let run = run.to_zoned_datetime(zone.clone());
        let _ = writeln!(text, "  {}", run.strftime("%Y-%m-%d %H:%M %Z"));
    }
    text
}

/// Describes when the schedule runs, such as `runs at minute 45 of hours 8-17 (America/New_York)`.
fn times_of(shown: &Shown) -> String {
    let hours = match (shown.hours.len(), shown.hours.as_slice()) {
        (0 | 24.., _) => "every hour".to_owned(),
        (_, [hour]) => format!("hour {hour}"),
        (_, hours) => format!("hours {}", ranges(hours)),
    };
    format!(
        "runs at {} {} of {hours} ({})",
        noun(shown.minutes.len(), "minute"),
        ranges(&shown.minutes),
        shown.time_zone
    )
}

/// Formats numbers in the syntax of the command line, such as `8-10,17`.
fn ranges(numbers: &[i32]) -> String {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    let parts: Vec<String> = runs
        .map(|run| match run {
            [first, _, .., last] => format!("{first}-{last}"),
            run => run.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        })
        .collect();
    parts.join(",")
}

fn tell(text: &str) {
    write_error(format!("{text}\n"));
}

/// Prints what the command did. A failed write is only a warning and does not fail the command.
fn report(text: &str) {
    if let Err(error) = write_output(text) {
        tell(&format!("warning: cannot write to standard output: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use capacity_engine::break_even::Parameters;
    use clap::CommandFactory;

    use capacity_workflows::schedule::Shown;

    use super::{Arguments, PolicyRef, Times, numbers, pause_span, text_of};

    #[test]
    fn a_schedule_is_shown_with_its_hours_and_in_its_time_zone() {
        let mut shown = Shown {
            paused: false,
            note: String::new(),
            runs: 3,
            skipped: 0,
            missed: 0,
            minutes: vec![45],
            hours: (8..=17).collect(),
            time_zone: "America/New_York".to_owned(),
            next: vec!["2026-11-25T13:45:00Z".parse().expect("a time")],
        };
        insta::assert_snapshot!(text_of(&shown), @r"
        state: running; runs at minute 45 of hours 8-17 (America/New_York)
        runs: 3 started, 0 skipped because one was still running, 0 missed
        next:
          2026-11-25 08:45 EST
        ");
        shown.minutes = vec![0, 55];
        shown.hours = (0..24).collect();
        shown.time_zone = "UTC".to_owned();
        let text = text_of(&shown);
        assert!(
            text.contains("runs at minutes 0,55 of every hour (UTC)"),
            "{text}"
        );
        assert!(text.contains("  2026-11-25 13:45 UTC"), "{text}");
        shown.hours = vec![6, 12, 18];
        assert!(text_of(&shown).contains("of hours 6,12,18 "));
    }

    #[test]
    fn a_pause_lasts_at_least_a_second() {
        assert!(pause_span("2h").is_ok() && pause_span("2d").is_ok());
        for text in ["0s", "0h", "500ms", "-1h"] {
            assert!(pause_span(text).is_err(), "{text}");
        }
    }

    /// Covers the help of every command, wrapped at 100 columns.
    #[test]
    fn the_help_of_every_command_reads() {
        let mut all = Arguments::command().term_width(100);
        all.build();
        let mut text = format!("{}\n", all.render_long_help());
        for command in all.get_subcommands_mut().filter(|it| it.get_name() != "help") {
            let help = command.render_long_help();
            let _ = writeln!(text, "==== {} ====\n{help}", command.get_name());
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn without_minutes_the_policy_determines_the_schedule() {
        let minutes = |times: &Times, policy: &PolicyRef| {
            let options = times.options(policy);
            options.expect("valid").minutes
        };
        let break_even = PolicyRef::named("break-even", &Parameters::default()).expect("built in");
        assert_eq!(minutes(&Times::default(), &PolicyRef::default()), [45]);
        assert_eq!(minutes(&Times::default(), &break_even), [0, 55]);
        let given = Times {
            minutes: Some("15,45".to_owned()),
            ..Times::default()
        };
        assert_eq!(minutes(&given, &break_even), [15, 45]);
    }

    #[test]
    fn lists_and_ranges_are_parsed() {
        assert_eq!(numbers("15, 45", 59).expect("numbers"), [15, 45]);
        assert_eq!(numbers("8-10,17", 23).expect("numbers"), [8, 9, 10, 17]);
        assert!(numbers("60", 59).is_err());
        assert!(numbers("9-8", 23).is_err());
        assert!(numbers("noon", 23).is_err());
    }
}
