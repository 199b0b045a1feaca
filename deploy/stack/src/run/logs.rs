//! Shows the logs of processes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::place::Place;
use crate::roles::Member;

/// Shows a log with `tail`.
///
/// # Errors
///
/// If the log does not exist.
pub fn logs(place: &Place, name: &str, follow: bool, lines: u32) -> anyhow::Result<()> {
    let folder = place.folder().join("logs");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("no logs in {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        stem == name || Member::parse(&stem).is_some_and(|member| member.role.as_str() == name)
    });
    files.sort();
    anyhow::ensure!(
        !files.is_empty(),
        "there is no log of `{name}` in {}; {}",
        folder.display(),
        log_names(&folder)
    );
    let mut command = Command::new("tail");
    command.args(["-n", &lines.to_string()]);
    if follow {
        command.arg("-F");
    }
    let status = command.args(files).status().context("cannot run tail")?;
    // Ctrl-C is the usual end when following.
    anyhow::ensure!(status.success() || follow, "tail failed");
    Ok(())
}

fn log_names(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    format!("available: {}", names.join(", "))
}
