//! Finds or obtains the `temporal` command: from a variable, PATH, the cache, the official download, or a Go
//! build.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::process::Command;

/// The version that is obtained if none is found.
pub const PINNED_VERSION: &str = "1.5.1";

/// The variable with the path of the command.
const VARIABLE: &str = "TEMPORAL_CLI_PATH";

/// Maximum time for a download or a build.
const OBTAIN_TIMEOUT: Duration = Duration::from_mins(15);

/// The location at which the command was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CliSource {
    /// The variable `TEMPORAL_CLI_PATH`.
    Variable,
    /// PATH.
    Path,
    /// The cache: it was obtained before.
    Cache,
    /// It was downloaded just now.
    Download,
    /// It was built just now.
    Go,
}

/// Why no command could be found or obtained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The variable is not the path of a file.
    #[error("{VARIABLE} is set to {0}, which is not a file: fix or unset it")]
    Variable(PathBuf),
    /// All attempts failed.
    #[error(
        "the Temporal CLI is not available ({}); install it (https://docs.temporal.io/cli) or set {VARIABLE}",
        .0.join("; ")
    )]
    Nowhere(Vec<String>),
}

/// Finds the command: set in the variable, on PATH, or obtained before.
///
/// # Errors
///
/// If the variable is not the path of a file.
pub fn find() -> Result<Option<(PathBuf, CliSource)>, CliError> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        let path = PathBuf::from(named);
        return if path.is_file() {
            Ok(Some((path, CliSource::Variable)))
        } else {
            // Not the next place: a wrong path must not select another version unnoticed.
            Err(CliError::Variable(path))
        };
    }
    let cached = || {
        let path = cache_folder().join("temporal");
        path.is_file().then_some((path, CliSource::Cache))
    };
    Ok(on_path("temporal")
        .map(|path| (path, CliSource::Path))
        .or_else(cached))
}

/// Finds the command, or obtains the pinned version into the cache. Reports each step to `progress`.
///
/// # Errors
///
/// If all attempts fail. The error describes each of them.
pub async fn find_or_obtain(progress: &(dyn Fn(&str) + Sync)) -> Result<(PathBuf, CliSource), CliError> {
    if let Some(found) = find()? {
        return Ok(found);
    }
    let cache = cache_folder();
    let cached = cache.join("temporal");
    let mut problems = Vec::new();
    for (source, what) in [
        (CliSource::Download, "downloading"),
        (CliSource::Go, "building with Go (takes a few minutes)"),
    ] {
        progress(&format!(
            "{what} the Temporal CLI {PINNED_VERSION} into {}",
            cache.display()
        ));
        let begun = Instant::now();
        let obtained = match source {
            CliSource::Go => go_install(&cache).await,
            _ => download(&cache).await,
        };
        match obtained {
            Ok(()) if cached.is_file() => {
                progress(&format!(
                    "the Temporal CLI is ready after {} s",
                    begun.elapsed().as_secs()
                ));
                return Ok((cached, source));
            }
            Ok(()) => problems.push(format!("{what}: succeeded but produced no file")),
            Err(problem) => problems.push(format!("{what}: {problem}")),
        }
    }
    Err(CliError::Nowhere(problems))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

fn cache_folder() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .unwrap_or_else(std::env::temp_dir);
    base.join("temporal-dev-server").join(PINNED_VERSION)
}

/// A failed attempt to obtain the command.
#[derive(Debug, thiserror::Error)]
enum ObtainError {
    #[error("no build is available for {system} on {machine}")]
    NoBuild {
        system: &'static str,
        machine: &'static str,
    },
    #[error("Go is not installed")]
    NoGo,
    #[error("not finished after {} min", OBTAIN_TIMEOUT.as_secs() / 60)]
    TooSlow,
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Failed(String),
}

/// Downloads the official archive, and unpacks it with the system's own tools.
async fn download(cache: &Path) -> Result<(), ObtainError> {
    let system = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "linux_amd64",
        ("linux", "aarch64") => "linux_arm64",
        ("macos", "x86_64") => "darwin_amd64",
        ("macos", "aarch64") => "darwin_arm64",
        (system, machine) => return Err(ObtainError::NoBuild { system, machine }),
    };
    let url = format!(
        "https://github.com/temporalio/cli/releases/download/v{PINNED_VERSION}/temporal_cli_{PINNED_VERSION}_{system}.tar.gz"
    );
    // In a folder of this process, so that two processes that download at once do not write to one file.
    let own = cache.join(format!("download-{}", std::process::id()));
    std::fs::create_dir_all(&own)?;
    let archive = own.join("temporal.tar.gz");
    let fetched = run(Command::new("curl")
        .args([
            "--fail",
            "--silent",
            "--show-error",
            "--location",
            "--connect-timeout",
            "10",
            "--output",
        ])
        .arg(&archive)
        .arg(&url))
    .await;
    let obtained = match fetched {
        Ok(()) => unpack(&archive, &own, cache).await,
        Err(error) => Err(error),
    };
    // A folder that cannot be removed wastes space, and nothing in it is ever used.
    let _ = std::fs::remove_dir_all(&own);
    obtained
}

/// Unpacks the command into `own`, and moves it into the cache.
async fn unpack(archive: &Path, own: &Path, cache: &Path) -> Result<(), ObtainError> {
    run(Command::new("tar")
        .arg("-xzf")
        .arg(archive)
        .arg("-C")
        .arg(own)
        .arg("temporal"))
    .await?;
    // Only a complete file gets the name that `find` looks for: `tar` may be killed in the middle.
    std::fs::rename(own.join("temporal"), cache.join("temporal"))?;
    Ok(())
}

async fn go_install(cache: &Path) -> Result<(), ObtainError> {
    if on_path("go").is_none() {
        return Err(ObtainError::NoGo);
    }
    std::fs::create_dir_all(cache)?;
    let module = format!("github.com/temporalio/cli/cmd/temporal@v{PINNED_VERSION}");
    run(Command::new("go").args(["install", &module]).env("GOBIN", cache)).await
}

async fn run(command: &mut Command) -> Result<(), ObtainError> {
    let output = tokio::time::timeout(OBTAIN_TIMEOUT, command.kill_on_drop(true).output())
        .await
        .map_err(|_| ObtainError::TooSlow)??;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().last().unwrap_or("it failed without output");
    Err(ObtainError::Failed(last.chars().take(200).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_truncated_archive_leaves_no_command_in_the_cache() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let cache = folder.path();
        let own = cache.join("own");
        std::fs::create_dir_all(&own).expect("a folder for the test");
        // Does not compress well, so that half of the archive is about half of the file.
        let noise = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0];
        let content: Vec<u8> = (0..1_000_000).map(noise).collect();
        std::fs::write(cache.join("temporal"), &content).expect("a file to pack");
        let archive = own.join("temporal.tar.gz");
        run(Command::new("tar")
            .arg("-czf")
            .arg(&archive)
            .arg("-C")
            .arg(cache)
            .arg("temporal"))
        .await
        .expect("an archive");
        std::fs::remove_file(cache.join("temporal")).expect("the file is packed");
        let whole = std::fs::read(&archive).expect("the archive");

        std::fs::write(&archive, &whole[..whole.len() / 2]).expect("half an archive");
        assert!(unpack(&archive, &own, cache).await.is_err());
        assert!(!cache.join("temporal").exists());

        std::fs::write(&archive, &whole).expect("the archive");
        unpack(&archive, &own, cache).await.expect("a whole archive");
        assert_eq!(std::fs::read(cache.join("temporal")).ok(), Some(content));
    }
}
