//! Flags that every command takes, and those that the Temporal CLI hands on.

use std::path::PathBuf;

use clap::Args;

use crate::output::Output;
use crate::terminal::{Color, LogFormat};

/// Flags that every command takes, before or after its name.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Output format: table, json, jsonl, csv, markdown, html or none (what the command supports).
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        hide_possible_values = true,
        value_name = "FORMAT",
        help_heading = "Global options"
    )]
    pub(crate) output: Option<Output>,
    /// Use colors: auto, always or never; auto honors `NO_COLOR`.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, hide_possible_values = true, value_name = "WHEN", help_heading = "Global options")]
    pub(crate) color: Color,
    /// Settings file [default: ./capacity.toml, if it exists].
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) config: Option<PathBuf>,
    /// Override a setting, such as `MAX_TRU_COUNT=8`; repeatable.
    #[arg(
        long = "set",
        global = true,
        value_name = "NAME=VALUE",
        help_heading = "Global options"
    )]
    pub(crate) set: Vec<String>,
    /// Settings that flags of one command give: name, value, and the flag.
    #[arg(skip)]
    pub(crate) given: Vec<(&'static str, String, &'static str)>,
    /// Temporal service to connect to (`TEMPORAL_ADDRESS`).
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        help_heading = "Global options"
    )]
    pub(crate) address: Option<String>,
    /// Temporal namespace that the autopilot runs in (`TEMPORAL_NAMESPACE`); not a filter.
    #[arg(
        long,
        global = true,
        value_name = "NAMESPACE",
        help_heading = "Global options"
    )]
    pub(crate) namespace: Option<String>,
    /// Log level on standard error: error, warn, info, debug, trace or a filter.
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        default_value = "error",
        help_heading = "Global options"
    )]
    pub(crate) log_level: String,
    /// Log format: text or json.
    #[arg(long, global = true, value_enum, hide_possible_values = true, value_name = "FORMAT", default_value_t = LogFormat::Text, help_heading = "Global options")]
    pub(crate) log_format: LogFormat,
    /// Flags that the Temporal CLI passes on.
    #[command(flatten)]
    pub(crate) temporal_cli: TemporalCliFlags,
}

/// Other global flags of the Temporal CLI, which hands them on before the command.
#[derive(Debug, Clone, Args)]
pub(crate) struct TemporalCliFlags {
    /// Fail if the command takes longer, such as 30s; 0s means no limit.
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        default_value = "0s",
        help_heading = "Global options"
    )]
    pub(crate) command_timeout: String,
    /// A profile of the Temporal CLI's configuration.
    #[arg(long, global = true, hide = true)]
    pub(crate) profile: Option<String>,
    /// A configuration file of the Temporal CLI.
    #[arg(long, global = true, hide = true)]
    pub(crate) config_file: Option<PathBuf>,
    /// An environment of the Temporal CLI.
    #[arg(long, global = true, hide = true)]
    pub(crate) env: Option<String>,
    /// A file of environments of the Temporal CLI.
    #[arg(long, global = true, hide = true)]
    pub(crate) env_file: Option<PathBuf>,
    /// How the Temporal CLI shows times; here they are shown in UTC.
    #[arg(long, global = true, hide = true)]
    pub(crate) time_format: Option<String>,
    /// How long the Temporal CLI may take to connect; here ten seconds.
    #[arg(long, global = true, hide = true)]
    pub(crate) client_connect_timeout: Option<String>,
    /// Whether to ignore profiles of the Temporal CLI's configuration file.
    #[arg(long, global = true, hide = true)]
    pub(crate) disable_config_file: bool,
    /// Whether to ignore the Temporal CLI's environment variables; those of the cloud keys are ours.
    #[arg(long, global = true, hide = true)]
    pub(crate) disable_config_env: bool,
    /// How the Temporal CLI shows payloads; unused here.
    #[arg(long, global = true, hide = true)]
    pub(crate) no_json_shorthand_payloads: bool,
}

impl TemporalCliFlags {
    /// Rejects flags that would otherwise be ignored silently.
    ///
    /// # Errors
    ///
    /// For environments of the old Temporal CLI, which are not supported, and an invalid duration.
    pub(crate) fn time_limit(&self) -> anyhow::Result<Option<std::time::Duration>> {
        let unread = [
            ("--env", self.env.is_some()),
            ("--env-file", self.env_file.is_some()),
        ];
        if let Some((flag, _)) = unread.into_iter().find(|(_, is_given)| *is_given) {
            anyhow::bail!(
                "{flag} is not read by this program: give --address and --namespace, or set TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE and TEMPORAL_API_KEY"
            );
        }
        let text = &self.command_timeout;
        let span: jiff::SignedDuration = match text.as_str() {
            "0" => jiff::SignedDuration::ZERO,
            _ => text.parse().map_err(|_| {
                anyhow::anyhow!("--command-timeout {text}: write a duration with its unit, such as 30s")
            })?,
        };
        let span = std::time::Duration::try_from(span)
            .map_err(|_| anyhow::anyhow!("--command-timeout {text}: a duration cannot be negative"))?;
        Ok((!span.is_zero()).then_some(span))
    }
}

impl Global {
    /// Returns the format to use; `table` unless something else was asked for.
    pub(crate) fn output(&self) -> Output {
        self.output.unwrap_or(Output::Table)
    }
}
