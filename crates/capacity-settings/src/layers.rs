//! The layers of settings, from lowest to highest precedence: defaults, file, `.env`, environment, flags.
//!
//! The `config` crate merges the layers. Each value keeps its origin.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use config::{ConfigError, Map, Source, Value, ValueKind};
use http_edge::without_quotes;
use secrecy::ExposeSecret;

use crate::catalog::{CATALOG, CONFIG_VARIABLE, Name, entry, meaning, nearest};
use crate::dotenv;
use crate::mistake::{Mistake, Origin};
use crate::profile;
use crate::synonyms::looks_like_ours;
use crate::toml;

// Exhaustive: callers use struct update syntax (`..`), so a new field gets its default.
/// The sources of settings.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The environment of the process.
    pub environment: BTreeMap<String, String>,
    /// Environment variables whose value is not text.
    pub unreadable: Vec<String>,
    /// The folder that contains `.env` and `capacity.toml`, and that relative paths start from; `None` reads
    /// neither.
    pub directory: Option<PathBuf>,
    /// The settings file, if one was specified. It must exist.
    pub file: Option<PathBuf>,
    /// Settings from flags: name, value, and the flag.
    pub flags: Vec<(String, String, String)>,
}

impl Inputs {
    /// Takes the environment and the working directory of this process.
    pub fn from_process() -> Self {
        let (mut environment, mut unreadable) = (BTreeMap::new(), Vec::new());
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => drop(environment.insert(name, value)),
                (Ok(name), Err(_)) => unreadable.push(name),
                // No setting has a name that is not text.
                (Err(_), _) => {}
            }
        }
        Self {
            environment,
            unreadable,
            directory: Some(PathBuf::from(".")),
            file: None,
            flags: Vec::new(),
        }
    }
}

impl Inputs {
    fn path(&self, path: &Path) -> PathBuf {
        self.directory
            .as_ref()
            .map_or_else(|| path.to_owned(), |directory| directory.join(path))
    }
}

/// A value and its origin.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

/// The merged layers.
#[derive(Debug, Default)]
pub(crate) struct Layered {
    pub(crate) values: BTreeMap<&'static str, Found>,
    /// The files that contain secrets.
    pub(crate) secret_files: BTreeMap<&'static str, PathBuf>,
    pub(crate) mistakes: Vec<Mistake>,
    pub(crate) warnings: Vec<String>,
}

/// One layer for the `config` crate: values by name, with origins as indexes of a table.
#[derive(Debug, Clone, Default)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

#[derive(Debug, Default)]
struct Layers {
    origins: Vec<Origin>,
    stack: Vec<Layer>,
    layered: Layered,
    /// Secrets that are set by value, and by file.
    by_value: BTreeSet<&'static str>,
    by_file: BTreeMap<&'static str, Origin>,
}

pub(crate) fn lay(inputs: &Inputs) -> Layered {
    let mut layers = Layers::default();
    layers.defaults();
    layers.profile(inputs);
    layers.file(inputs);
    layers.dotenv(inputs);
    layers.environment(inputs);
    layers.flags(inputs);
    layers.finish()
}

impl Layers {
    fn defaults(&mut self) {
        let defaults = CATALOG
            .iter()
            .filter_map(|entry| Some((entry.name, entry.default?)));
        let values = defaults
            .map(|(name, text)| (name, text.to_owned(), Origin::Default))
            .collect();
        self.push(values);
    }

    /// Adds a profile of Temporal's own configuration file, as the Temporal CLI and every SDK read it.
    fn profile(&mut self, inputs: &Inputs) {
        match profile::read(&inputs.environment) {
            Ok(profile) => {
                let origin = Origin::File(profile.origin);
                let values = profile
                    .values
                    .into_iter()
                    .filter(|(_, text)| !text.trim().is_empty());
                let values = values.map(|(name, text)| {
                    let text = without_quotes(text.trim()).to_owned();
                    (name, text, origin.clone())
                });
                self.push(values.collect());
            }
            Err((name, problem)) => self.mistake(Mistake::of_name(&name, None, problem)),
        }
    }

    fn push(&mut self, values: Vec<(&'static str, String, Origin)>) {
        let mut layer = Layer::default();
        for (name, text, origin) in values {
            // The `config` crate keeps one text with each value, so that is the index of its origin.
            let number = self.origins.len().to_string();
            self.origins.push(origin);
            layer.0.insert(
                name.to_owned(),
                Value::new(Some(&number), ValueKind::String(text)),
            );
        }
        self.stack.push(layer);
    }

    fn mistake(&mut self, mistake: Mistake) {
        self.layered.mistakes.push(mistake);
    }

    /// Adds one assignment. An empty value counts as not set.
    fn take(
        &mut self,
        name: &str,
        text: &str,
        origin: Origin,
        inputs: &Inputs,
        values: &mut Vec<(&'static str, String, Origin)>,
    ) -> Name {
        let meaning = meaning(name);
        let text = text.trim();
        if text.is_empty() {
            return meaning;
        }
        match meaning {
            Name::Setting(setting) => {
                self.by_value.insert(setting);
                values.push((setting, text.to_owned(), origin));
            }
            Name::FileOf(setting) => {
                self.by_file.insert(setting, origin.clone());
                let path = inputs.path(Path::new(text));
                if let Some(secret) = self.secret_file(name, &path, &origin) {
                    values.push((setting, secret, Origin::File(text.to_owned())));
                    self.layered.secret_files.insert(setting, path);
                }
            }
            Name::Near(_) | Name::Other => {}
        }
        meaning
    }

    fn secret_file(&mut self, name: &str, path: &Path, origin: &Origin) -> Option<String> {
        match http_edge::read_secret_file(path) {
            Ok(secret) => {
                self.warn_if_open(path);
                Some(secret.expose_secret().to_owned())
            }
            Err(error) => {
                self.mistake(Mistake::of_name(name, Some(origin.clone()), error.to_string()));
                None
            }
        }
    }

    #[cfg(unix)]
    fn warn_if_open(&mut self, path: &Path) {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).map(|metadata| metadata.permissions().mode());
        // Not the group: Kubernetes mounts a secret for the group of the pod.
        if mode.is_ok_and(|mode| mode & 0o004 != 0) {
            let path = path.display();
            self.layered.warnings.push(format!(
                "{path} contains a secret and is readable by everyone: chmod 600 {path}"
            ));
        }
    }

    #[cfg(not(unix))]
    fn warn_if_open(&mut self, _path: &Path) {}

    fn file(&mut self, inputs: &Inputs) {
        let named = inputs.file.clone().or_else(|| {
            inputs
                .environment
                .get(CONFIG_VARIABLE)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        });
        let path = inputs.path(named.as_deref().unwrap_or(Path::new("capacity.toml")));
        if named.is_none() && (inputs.directory.is_none() || !path.exists()) {
            return;
        }
        let shown = path.strip_prefix(".").unwrap_or(&path).display().to_string();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                return self.mistake(Mistake::of_file(
                    &shown,
                    None,
                    format!("the settings file cannot be read: {error}"),
                ));
            }
        };
        let table = match toml::table(&text) {
            Ok(table) => table,
            Err(problem) => return self.mistake(Mistake::of_file(&shown, None, problem)),
        };
        let mut values = Vec::new();
        let mut entries: Vec<(usize, String, Value)> = table
            .into_iter()
            .map(|(key, value)| (line_of(&key, &text), key, value))
            .collect();
        // The map has lost the order of the file, in which mistakes are reported.
        entries.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        for (line, key, value) in entries {
            let origin = Origin::Line {
                file: shown.clone(),
                line,
            };
            self.file_entry(&key, value, origin, inputs, &mut values);
        }
        let holds_secret = values
            .iter()
            .any(|(name, _, _)| entry(name).is_some_and(|entry| entry.is_secret));
        if holds_secret {
            self.warn_if_open(&path);
        }
        self.push(values);
    }

    fn file_entry(
        &mut self,
        key: &str,
        value: Value,
        origin: Origin,
        inputs: &Inputs,
        values: &mut Vec<(&'static str, String, Origin)>,
    ) {
        let name = key.to_ascii_uppercase();
        let known =
            key == key.to_ascii_lowercase() && matches!(meaning(&name), Name::Setting(_) | Name::FileOf(_));
        if !known {
            let hint = match nearest(&name) {
                Some(near) => format!("; did you mean `{}`?", near.to_ascii_lowercase()),
                None => "; `temporal-capacity settings show` lists all settings".to_owned(),
            };
            return self.mistake(Mistake::of_name(
                key,
                Some(origin),
                format!("unknown setting{hint}"),
            ));
        }
        // Without this, the empty list would count as not set, which means all namespaces.
        if name == "NAMESPACE_ALLOWLIST" && matches!(&value.kind, ValueKind::Array(items) if items.is_empty())
        {
            let problem = "the list is empty, which does not mean all namespaces; name at least one, or remove the line";
            return self.mistake(Mistake::of_name(key, Some(origin), problem));
        }
        match plain_text(value.kind) {
            Some(text) => drop(self.take(&name, without_quotes(text.trim()), origin, inputs, values)),
            None => self.mistake(Mistake::of_name(
                key,
                Some(origin),
                "this is a table or a list in a list; use one value, or a list of strings",
            )),
        }
    }

    fn dotenv(&mut self, inputs: &Inputs) {
        const FILE: &str = ".env";
        let Some(path) = inputs.directory.as_ref().map(|directory| directory.join(FILE)) else {
            return;
        };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => {
                return self.mistake(Mistake::of_file(
                    FILE,
                    None,
                    format!("it cannot be read: {error}"),
                ));
            }
        };
        let Ok(text) = String::from_utf8(bytes) else {
            return self.mistake(Mistake::of_file(
                FILE,
                None,
                "it is not UTF-8 text: save it as UTF-8",
            ));
        };
        let (assignments, unreadable) = dotenv::parse(&text);
        for line in unreadable {
            let problem = format!(
                "the line cannot be read: {}; fix it, or start it with # to comment it out",
                line.problem
            );
            self.mistake(Mistake::of_file(FILE, Some(line.line), problem));
        }
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut values = Vec::new();
        let mut holds_secret = false;
        let mut unknown = Vec::new();
        for assignment in assignments {
            let origin = Origin::Line {
                file: FILE.to_owned(),
                line: assignment.line,
            };
            let meaning = self.take(
                &assignment.name,
                &assignment.value,
                origin.clone(),
                inputs,
                &mut values,
            );
            if let Name::Near(near) = meaning {
                let problem = format!("unknown setting; did you mean {near}? (rename or remove it)");
                self.mistake(Mistake::of_name(&assignment.name, Some(origin.clone()), problem));
            }
            if meaning == Name::Other && looks_like_ours(&assignment.name) {
                unknown.push((assignment.name.clone(), origin.clone()));
            }
            if let Name::Setting(setting) = meaning {
                holds_secret |=
                    entry(setting).is_some_and(|entry| entry.is_secret) && !assignment.value.is_empty();
            }
            let ours = matches!(meaning, Name::Setting(_) | Name::FileOf(_));
            if ours && let Some(first) = seen.insert(assignment.name.clone(), assignment.line) {
                let problem = format!("it is set twice, first on line {first}: remove one");
                self.mistake(Mistake::of_name(&assignment.name, Some(origin), problem));
            }
        }
        // Another program's `.env` may be in the same folder. Ignore it if it has none of our settings.
        if !seen.is_empty() {
            for (name, origin) in unknown {
                let problem = "unknown setting, and its name looks like a setting of this program; rename or remove it \
                               (`temporal-capacity settings show` lists all settings)";
                self.mistake(Mistake::of_name(&name, Some(origin), problem));
            }
        }
        if holds_secret {
            self.warn_if_open(&path);
        }
        self.push(values);
    }

    fn environment(&mut self, inputs: &Inputs) {
        let mut values = Vec::new();
        let mut near_names = Vec::new();
        for (name, text) in &inputs.environment {
            let text = without_quotes(text.trim());
            let meaning = self.take(name, text, Origin::Environment, inputs, &mut values);
            // Other programs also set environment variables, so this is only a warning.
            if let (Name::Near(near), false) = (meaning, text.is_empty()) {
                near_names.push((name, near));
            }
        }
        for (name, near) in near_names {
            // Terraform and tcld read TEMPORAL_CLOUD_API_KEY, so it is not a mistake next to our key.
            let is_set = self.by_value.contains(near) || self.by_file.contains_key(near);
            if !(is_set && entry(near).is_some_and(|entry| entry.is_secret)) {
                self.layered.warnings.push(format!(
                    "{name} in the environment is not a setting and is ignored; did you mean {near}?"
                ));
            }
        }
        for name in &inputs.unreadable {
            if let Name::Setting(_) | Name::FileOf(_) = meaning(name) {
                self.mistake(Mistake::of_name(
                    name,
                    Some(Origin::Environment),
                    "its value is not UTF-8 text",
                ));
            }
        }
        self.push(values);
    }

    fn flags(&mut self, inputs: &Inputs) {
        let mut values = Vec::new();
        for (name, text, flag) in &inputs.flags {
            let origin = Origin::Flag(flag.clone());
            let upper = name.to_ascii_uppercase();
            match self.take(
                &upper,
                without_quotes(text.trim()),
                origin.clone(),
                inputs,
                &mut values,
            ) {
                // Elsewhere, an empty value counts as not set. A flag was written on purpose.
                Name::Setting(_) | Name::FileOf(_) if without_quotes(text.trim()).is_empty() => {
                    let problem = "the value is empty; write a value, or leave the flag out to use the environment, the files and the default";
                    self.mistake(Mistake::of_name(name, Some(origin), problem));
                }
                Name::Setting(_) | Name::FileOf(_) => {}
                Name::Near(near) => {
                    let problem = format!("unknown setting; did you mean {near}?");
                    self.mistake(Mistake::of_name(name, Some(origin), problem));
                }
                Name::Other => {
                    let problem = "unknown setting; `temporal-capacity settings show` lists them";
                    self.mistake(Mistake::of_name(name, Some(origin), problem));
                }
            }
        }
        self.push(values);
    }

    fn finish(mut self) -> Layered {
        for (name, origin) in std::mem::take(&mut self.by_file) {
            if self.by_value.contains(name) {
                let problem = format!("both {name} and {name}_FILE are set: remove one");
                self.mistake(Mistake::of_name(name, Some(origin), problem));
            }
        }
        let mut builder = config::Config::builder();
        for layer in std::mem::take(&mut self.stack) {
            builder = builder.add_source(layer);
        }
        let merged = builder.build().map(|config| config.cache.into_table());
        match merged {
            Ok(Ok(table)) => {
                for (name, value) in table {
                    let origin = value.origin().and_then(|number| number.parse::<usize>().ok());
                    let origin = origin
                        .and_then(|number| self.origins.get(number).cloned())
                        .unwrap_or(Origin::Default);
                    if let (Some(entry), ValueKind::String(text)) = (entry(&name), value.kind) {
                        self.layered.values.insert(entry.name, Found { text, origin });
                    }
                }
            }
            // Layers hold only texts, which always merge.
            Ok(Err(error)) | Err(error) => {
                self.layered
                    .mistakes
                    .push(Mistake::of_file("settings", None, error.to_string()));
            }
        }
        self.layered
    }
}

/// Returns the line of a key in a TOML document, or the first line.
fn line_of(key: &str, text: &str) -> usize {
    // The `config` crate does not report lines.
    let is_of_key = |line: &str| {
        let written = line.trim_start().trim_start_matches(['"', '\'', '[']);
        written.strip_prefix(key).is_some_and(|rest| {
            rest.trim_start_matches(['"', '\''])
                .trim_start()
                .starts_with(['=', '.', ']'])
        })
    };
    text.lines().position(is_of_key).map_or(1, |index| index + 1)
}

/// Formats a value of a file as it would be written in a variable.
fn plain_text(kind: ValueKind) -> Option<String> {
    match kind {
        ValueKind::Array(items) => {
            let items: Option<Vec<String>> = items
                .into_iter()
                .map(|item| match item.kind {
                    ValueKind::Array(_) | ValueKind::Table(_) => None,
                    kind => plain_text(kind),
                })
                .collect();
            items.map(|items| items.join(","))
        }
        ValueKind::Table(_) => None,
        // Counts as not set, like an empty variable.
        ValueKind::Nil => Some(String::new()),
        other => Some(other.to_string()),
    }
}
