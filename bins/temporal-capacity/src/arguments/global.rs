//! Flags that every command takes, and those that the Temporal CLI passes on.

use std::path::PathBuf;

use clap::Args;

use crate::output::Output;
use crate::terminal::{Color, LogFormat};

/// Flags that every command takes, before or after its name.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Output format, if supported: table, json, jsonl, csv, markdown, html or none.
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
    /// Settings that command-specific flags override: name, value and flag.
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
        value_parser = crate::terminal::log_level,
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

/// Other global flags of the Temporal CLI, which passes them on before the command's name.
#[derive(Debug, Clone, Args)]
pub(crate) struct TemporalCliFlags {
    /// Fail if the command takes longer than this, such as 30s; 0s means no limit.
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        default_value = "0s",
        help_heading = "Global options"
    )]
    pub(crate) command_timeout: String,
    /// Profile in the Temporal CLI's configuration.
    #[arg(long, global = true, hide = true)]
    pub(crate) profile: Option<String>,
    /// Configuration file of the Temporal CLI.
    #[arg(long, global = true, hide = true)]
    pub(crate) config_file: Option<PathBuf>,
    /// Environment of the Temporal CLI.
    #[arg(long, global = true, hide = true)]
    pub(crate) env: Option<String>,
    /// File with the environments of the Temporal CLI.
    #[arg(long, global = true, hide = true)]
    pub(crate) env_file: Option<PathBuf>,
    /// How the Temporal CLI shows times. Ignored: this program shows UTC.
    #[arg(long, global = true, hide = true)]
    pub(crate) time_format: Option<String>,
    /// Connection timeout of the Temporal CLI. Ignored: this program uses 10 s.
    #[arg(long, global = true, hide = true)]
    pub(crate) client_connect_timeout: Option<String>,
    /// Whether to ignore the profiles in the Temporal CLI's configuration file.
    #[arg(long, global = true, hide = true)]
    pub(crate) disable_config_file: bool,
    /// Whether to ignore the Temporal CLI's environment variables. The variables that hold the cloud keys are
    /// always read.
    #[arg(long, global = true, hide = true)]
    pub(crate) disable_config_env: bool,
    /// How the Temporal CLI shows payloads. Ignored.
    #[arg(long, global = true, hide = true)]
    pub(crate) no_json_shorthand_payloads: bool,
}

impl TemporalCliFlags {
    /// Returns the time limit of `--command-timeout`, and rejects flags that would otherwise be ignored
    /// silently.
    ///
    /// # Errors
    ///
    /// If the duration is invalid, or if an environment of the old Temporal CLI is selected, which is not
    /// supported.
    pub(crate) fn time_limit(&self) -> anyhow::Result<Option<std::time::Duration>> {
        // Ignoring these would connect to another service than the user selected.
        let unread = [
            ("--env", self.env.is_some()),
            ("--env-file", self.env_file.is_some()),
        ];
        if let Some((flag, _)) = unread.into_iter().find(|(_, is_given)| *is_given) {
            anyhow::bail!(
                "this program does not support {flag}: specify --address and --namespace, or set \
                 TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE and TEMPORAL_API_KEY"
            );
        }
        let text = &self.command_timeout;
        let span = match text.as_str() {
            "0" => std::time::Duration::ZERO,
            _ => crate::times::duration(text)
                .map_err(|problem| anyhow::anyhow!("--command-timeout {text}: {problem}"))?,
        };
        Ok((!span.is_zero()).then_some(span))
    }
}

impl Global {
    /// Returns the format to use: `table` by default.
    pub(crate) fn output(&self) -> Output {
        self.output.unwrap_or(Output::Table)
    }
}
