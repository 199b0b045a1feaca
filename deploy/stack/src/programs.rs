//! Finds the programs of a stack in the right version. Missing ones are built with Go or downloaded from the
//! distribution.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::place::{Programs, home};
use crate::tell;

const SERVER: &str = "go.temporal.io/server";

/// A Go module to build.
struct Module {
    name: &'static str,
    package: String,
    version: String,
}

/// Downloads and unpacks the distribution's package without installing it.
const FETCH_PGBOUNCER: &str = include_str!("../fetch-pgbouncer");

/// Finds or builds all programs of a stack.
///
/// # Errors
///
/// If a program is missing and cannot be built.
pub fn obtain(version: &str, ui_version: &str) -> anyhow::Result<Programs> {
    let module = |name, package: &str, version: &str| Module {
        name,
        package: package.to_owned(),
        version: version.to_owned(),
    };
    let ui_package = "github.com/temporalio/ui-server/v2/cmd/server";
    Ok(Programs {
        server: find_or_build(&module(
            "temporal-server",
            &format!("{SERVER}/cmd/server"),
            version,
        ))?,
        sql_tool: find_or_build(&module(
            "temporal-sql-tool",
            &format!("{SERVER}/cmd/tools/sql"),
            version,
        ))?,
        ui: find_or_build(&module("temporal-ui-server", ui_package, ui_version))?,
        pgbouncer: pgbouncer()?,
    })
}

fn find_or_build(module: &Module) -> anyhow::Result<PathBuf> {
    let Module {
        name,
        package,
        version,
    } = module;
    let folder = home()?.join("bin").join(version);
    let built = folder.join(name);
    if built.is_file() {
        return Ok(built);
    }
    for found in on_path(name) {
        match version_of(&found) {
            Some(found_version) if found_version == *version => return Ok(found),
            Some(other) => tell(&format!("{} is version {other}, not {version}", found.display())),
            None => {}
        }
    }
    anyhow::ensure!(
        on_path("go").next().is_some(),
        "{name} {version} is neither on PATH nor in {}, and Go is not installed to build it; install Go (https://go.dev/dl), or put {name} there",
        folder.display()
    );
    tell(&format!(
        "building {name} {version} with Go into {} (takes a few minutes)",
        folder.display()
    ));
    // Several modules have binaries of the same name.
    let own = folder.join(format!(".{name}"));
    std::fs::create_dir_all(&own).with_context(|| format!("cannot create {}", own.display()))?;
    let status = Command::new("go")
        .args(["install", "-ldflags", "-s -w", &format!("{package}@v{version}")])
        .env("GOBIN", &own)
        // Needs no C compiler, and no particular C library where it runs.
        .env("CGO_ENABLED", "0")
        .stdin(Stdio::null())
        .status()
        .context("cannot run go")?;
    anyhow::ensure!(
        status.success(),
        "go could not build {package}@v{version}; the lines above show why. A newer server may need a newer Go"
    );
    let mut entries = std::fs::read_dir(&own)?.flatten();
    let entry = entries.next().context("go produced no binary")?;
    // Last, because a file with this name counts as complete.
    std::fs::rename(entry.path(), &built)?;
    std::fs::remove_dir_all(&own)?;
    Ok(built)
}

/// Returns the newest search template in the module of this server version.
///
/// # Errors
///
/// If it was not fetched before, and Go cannot fetch it.
pub(crate) fn search_template(version: &str) -> anyhow::Result<serde_json::Value> {
    let kept = home()?.join("bin").join(version).join("search-template.json");
    if !kept.is_file() {
        let module = format!("{SERVER}@v{version}");
        let missing = || {
            format!(
                "the search template of server {version} is missing: install Go (https://go.dev/dl) to fetch it, or copy the newest index_template_v7.json below schema/elasticsearch/visibility of Temporal's sources to {}",
                kept.display()
            )
        };
        tell(&format!(
            "fetching the search template of server {version} with Go"
        ));
        let output = Command::new("go")
            .args(["mod", "download", "-json", &module])
            // Away from any go.mod, whose directives would apply.
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .output()
            .with_context(missing)?;
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).with_context(missing)?;
        let folder = answer["Dir"].as_str().with_context(missing)?;
        let versioned = Path::new(folder).join("schema/elasticsearch/visibility/versioned");
        let newest = std::fs::read_dir(&versioned)
            .with_context(missing)?
            .flatten()
            .filter_map(|entry| {
                // As text, v10 would be older than v9.
                let number: u32 = entry.file_name().to_str()?.strip_prefix('v')?.parse().ok()?;
                let template = entry.path().join("index_template_v7.json");
                template.is_file().then_some((number, template))
            })
            .max();
        let (_, template) = newest.with_context(missing)?;
        let text = std::fs::read_to_string(&template).with_context(missing)?;
        if let Some(folder) = kept.parent() {
            std::fs::create_dir_all(folder)?;
        }
        crate::place::write_whole(&kept, &text)?;
    }
    let text = std::fs::read_to_string(&kept)?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged", kept.display()))
}

/// Returns the version that a program reports. The reports of the schema tool and the web UI are not
/// reliable, so these count as found if they are next to a server of the right version.
fn version_of(program: &Path) -> Option<String> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace()
        .map(|word| word.trim_start_matches('v'))
        .find(|word| crate::settings::is_version(word))
        .map(str::to_owned)
}

/// Finds one of our own programs next to this one or on PATH.
///
/// # Errors
///
/// If it is not found.
pub fn own(name: &str) -> anyhow::Result<PathBuf> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(|folder| folder.join(name)));
    beside
        .filter(|path| path.is_file())
        .or_else(|| on_path(name).next())
        .with_context(|| {
            format!(
                "{name} is neither next to temporal-stack nor on PATH: run `cargo build --workspace --bins`"
            )
        })
}

fn on_path(name: &str) -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let name = name.to_owned();
    folders
        .into_iter()
        .map(move |folder| folder.join(&name))
        .filter(|path| path.is_file())
}

/// Finds the folder with PostgreSQL's programs, in the newest version.
///
/// # Errors
///
/// If PostgreSQL is not installed.
pub fn postgres() -> anyhow::Result<PathBuf> {
    let is_whole = |folder: &PathBuf| {
        // The distribution's client package installs psql alone into the same folder.
        ["initdb", "postgres", "psql"]
            .iter()
            .all(|program| folder.join(program).is_file())
    };
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut versions: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    versions.sort_by_key(|folder| {
        let version = folder
            .parent()
            .and_then(Path::file_name)
            .map(|name| name.to_string_lossy().into_owned());
        std::cmp::Reverse(version.and_then(|version| version.parse::<u32>().ok()))
    });
    let on_path = on_path("postgres").filter_map(|path| path.parent().map(Path::to_path_buf));
    // PATH first, so that a user can select a version.
    on_path.chain(versions).find(is_whole).context(
        "PostgreSQL is not installed: run `apt-get install postgresql`, or put initdb, postgres and psql on PATH",
    )
}

fn pgbouncer() -> anyhow::Result<PathBuf> {
    let fetched = home()?.join("packages/pgbouncer");
    let unpacked = fetched.join("pgbouncer");
    let find = || {
        let usual = ["/usr/sbin/pgbouncer", "/usr/local/sbin/pgbouncer"].map(PathBuf::from);
        on_path("pgbouncer")
            .chain(usual)
            .chain([unpacked.clone()])
            .find(|path| path.is_file())
    };
    if let Some(found) = find() {
        return Ok(found);
    }
    tell("fetching PgBouncer from the distribution");
    std::fs::create_dir_all(&fetched).with_context(|| format!("cannot create {}", fetched.display()))?;
    let output = Command::new("sh")
        .args(["-c", FETCH_PGBOUNCER])
        .current_dir(&fetched)
        .stdin(Stdio::null())
        .output();
    find().with_context(|| {
        let said = output.map_or_else(
            |error| error.to_string(),
            |output| String::from_utf8_lossy(&output.stderr).into_owned(),
        );
        let last = said.lines().last().unwrap_or_default().to_owned();
        format!(
            "PgBouncer is not installed and could not be fetched ({last}): run `apt-get install pgbouncer`"
        )
    })
}
