//! The run directory of a stack and the state recorded in it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::settings::{Network, Settings};

/// Environment variable that overrides the folder returned by [`home`].
const HOME: &str = "TEMPORAL_STACK_HOME";

/// User of both databases.
pub const USER: &str = "temporal";

/// Databases of the server: main and visibility.
pub const DATABASES: [&str; 2] = ["temporal", "temporal_visibility"];

/// Database of the autopilot's ledger.
pub const LEDGER: &str = "capacity_ledger";

/// Returns the folder that contains downloaded and built programs, the default run directory, and a file with the
/// path of the current run directory.
///
/// # Errors
///
/// If no folder can be derived from the environment.
pub fn home() -> anyhow::Result<PathBuf> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(home) = variable(HOME) {
        return Ok(home);
    }
    // PostgreSQL does not run as root, and other users cannot access root's home.
    if is_root() {
        return Ok("/var/lib/temporal-stack".into());
    }
    variable("XDG_STATE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("temporal-stack"))
        .with_context(|| format!("neither HOME nor {HOME} is set; set {HOME} to a folder for the stack"))
}

/// Returns whether this process runs as root.
pub fn is_root() -> bool {
    // It belongs to the effective user, which the standard library does not report.
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// The run directory of a stack.
#[derive(Debug, Clone)]
pub struct Place {
    folder: PathBuf,
}

impl Place {
    /// Returns the specified run directory, or the one of the last `up`, or the default one.
    ///
    /// # Errors
    ///
    /// If no folder can be derived from the environment.
    pub fn find(named: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(folder) = named {
            return Ok(Self {
                folder: std::path::absolute(folder)?,
            });
        }
        let home = home()?;
        let recorded = std::fs::read_to_string(home.join("current"));
        let folder = recorded.map_or_else(|_| home.join("run"), |text| PathBuf::from(text.trim_end()));
        Ok(Self { folder })
    }

    /// Creates the folders and records this run directory as the current one.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn prepare(&self) -> anyhow::Result<()> {
        for folder in ["logs", "pids", "config", "tls"] {
            let folder = self.folder.join(folder);
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        private_folder(&self.tls())?;
        let home = home()?;
        std::fs::create_dir_all(&home)?;
        write_whole(&home.join("current"), &format!("{}\n", self.folder.display()))
    }

    /// Returns the path of the run directory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the path of a process's log.
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{name}.log"))
    }

    /// Returns the path of a process's record.
    pub fn pid(&self, name: &str) -> PathBuf {
        self.folder.join("pids").join(name)
    }

    /// Returns the path of a configuration file.
    pub fn config(&self, name: &str) -> PathBuf {
        self.folder.join("config").join(name)
    }

    /// Returns the path of Temporal's dynamic configuration.
    pub fn dynamic_config(&self) -> PathBuf {
        self.config("dynamic.yaml")
    }

    /// Returns the folder with certificates and keys.
    pub fn tls(&self) -> PathBuf {
        self.folder.join("tls")
    }

    /// Returns the folder with PostgreSQL's data and the files of its user.
    pub fn database(&self) -> PathBuf {
        self.folder.join("database")
    }

    /// Returns the path of the database password.
    pub fn password_file(&self) -> PathBuf {
        self.folder.join("password")
    }

    /// Returns the database password.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn password(&self) -> anyhow::Result<String> {
        let path = self.password_file();
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.trim_end().to_owned())
    }

    /// Creates a password if there is none.
    ///
    /// # Errors
    ///
    /// If it cannot be written, or if databases exist, which would reject a new one.
    pub fn ensure_password(&self) -> anyhow::Result<()> {
        use std::io::Read;
        let path = self.password_file();
        if path.exists() {
            return Ok(());
        }
        let data = self.database().join("postgres");
        anyhow::ensure!(
            !data.join("PG_VERSION").exists(),
            "{} is missing, and the databases in {} were created with the password in it: restore that file. If it is lost, set a \
             new password with `alter role {USER}` in PostgreSQL's single-user mode (`postgres --single`), and write it to that \
             file. Nothing was started",
            path.display(),
            data.display()
        );
        let mut bytes = [0; 24];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        // Hexadecimal digits need no quoting in a URL, in PgBouncer's file or in YAML.
        let text: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        write_secret(&path, &text.concat())
    }

    /// Returns the stack recorded by `up`.
    ///
    /// # Errors
    ///
    /// If there is no stack in this run directory.
    pub fn stack(&self) -> anyhow::Result<Stack> {
        let path = self.folder.join("stack.json");
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "no stack in {}: start one with deploy/stack/up, or specify its run directory with --dir",
                self.folder.display()
            )
        })?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Records the stack.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn record(&self, stack: &Stack) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(stack)?;
        write_whole(&self.folder.join("stack.json"), &format!("{text}\n"))
    }
}

/// A stack as recorded by `up`: its settings and the programs it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stack {
    /// Settings of the stack.
    pub settings: Settings,
    /// Folder with PostgreSQL's programs.
    pub postgres_programs: PathBuf,
    /// Paths of the server's programs.
    pub programs: Programs,
    /// Whether the autopilot uses a simulated cloud.
    pub simulated_cloud: bool,
}

/// Paths of the server's programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programs {
    /// `temporal-server`.
    pub server: PathBuf,
    /// The schema tool of the same version.
    pub sql_tool: PathBuf,
    /// `temporal-ui-server`.
    pub ui: PathBuf,
    /// `pgbouncer`.
    pub pgbouncer: PathBuf,
}

impl Stack {
    /// Returns the addresses of the stack's processes.
    pub fn network(&self) -> &Network {
        &self.settings.network
    }
}

/// Writes a file atomically, so that readers never see an incomplete file.
pub(crate) fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    write_with_mode(path, text, 0o644)
}

/// Writes a file that only its owner can read.
pub(crate) fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    write_with_mode(path, text, 0o600)
}

fn write_with_mode(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    // Next to the target, because a rename cannot cross file systems, and with the process id, because the
    // doctor may write at the same time as another command.
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}", std::process::id()));
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            // From the start, so that a secret is never readable to others.
            .mode(mode)
            .open(&partial)?;
        file.write_all(text.as_bytes())?;
        std::fs::rename(&partial, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn private_folder(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(
        folder,
        std::fs::Permissions::from_mode(0o700),
    )?)
}
