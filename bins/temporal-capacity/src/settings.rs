//! `settings show`: shows the effective settings and their sources.

use capacity_settings::Needs;
use comfy_table::Cell;
use serde_json::json;

use crate::arguments::Global;
use crate::exit::{Exit, print};
use crate::output::Output;
use crate::setup;
use crate::tables;
use crate::terminal::Terminal;

pub(crate) fn show(global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let settings = setup::settings(global, Needs::default())?;
    let as_json = |setting: &capacity_settings::EffectiveSetting| json!({ "name": setting.name, "value": setting.value, "origin": setting.origin.to_string() });
    match global.output() {
        Output::None => {}
        Output::Json => {
            let all: Vec<_> = settings.effective.iter().map(as_json).collect();
            print(&serde_json::to_string_pretty(&all)?)?;
        }
        Output::Jsonl => {
            let lines: Vec<String> = settings
                .effective
                .iter()
                .map(|setting| format!("{}\n", as_json(setting)))
                .collect();
            print(&lines.concat())?;
        }
        _ => {
            let mut table = tables::table_with(["setting", "value", "from", ""], terminal);
            for setting in &settings.effective {
                let value = setting.value.as_deref().unwrap_or("(not set)");
                table
                    .add_row([setting.name, value, &setting.origin.to_string(), setting.help].map(Cell::new));
            }
            print(&tables::lines_with_texts(&table, 3, terminal))?;
        }
    }
    Ok(Exit::Done)
}
