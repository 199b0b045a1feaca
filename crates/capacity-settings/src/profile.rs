//! Reads a profile of Temporal's own configuration file, the lowest layer above the defaults.
//!
//! The Temporal CLI and every SDK read the same file: `temporal.toml` in the user's configuration folder, or
//! the file set in `TEMPORAL_CONFIG_FILE`. The profile is `default`, or the one set in `TEMPORAL_PROFILE`.
//! Codecs and request headers in it are ignored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Value, ValueKind};

use crate::toml;
use crate::wrong::Wrong;

/// The environment variables that correspond to a profile's keys.
const KEYS: &[(&[&str], &str)] = &[
    (&["address"], "TEMPORAL_ADDRESS"),
    (&["namespace"], "TEMPORAL_NAMESPACE"),
    (&["api_key"], "TEMPORAL_API_KEY"),
    (&["tls", "client_cert_path"], "TEMPORAL_CERT_PATH"),
    (&["tls", "client_key_path"], "TEMPORAL_KEY_PATH"),
    (&["tls", "client_cert_data"], "TEMPORAL_TLS_CLIENT_CERT_DATA"),
    (&["tls", "client_key_data"], "TEMPORAL_TLS_CLIENT_KEY_DATA"),
    (
        &["tls", "server_ca_cert_path"],
        "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
    ),
    (
        &["tls", "server_ca_cert_data"],
        "TEMPORAL_TLS_SERVER_CA_CERT_DATA",
    ),
    (&["tls", "server_name"], "TEMPORAL_TLS_SERVER_NAME"),
];

/// The values of a profile, and its file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    /// The file and the profile, for display.
    pub(crate) origin: String,
    /// Names of variables and their values.
    pub(crate) values: Vec<(&'static str, String)>,
}

/// Reads the profile that the environment selects, or the default one if there is a file.
///
/// # Errors
///
/// If the selected file or profile does not exist, or the file is not TOML. The error never contains a line
/// of the file.
pub(crate) fn read(environment: &BTreeMap<String, String>) -> Result<Profile, (String, String)> {
    let named = |name: &str| environment.get(name).filter(|value| !value.trim().is_empty());
    let (named_file, named_profile) = (named("TEMPORAL_CONFIG_FILE"), named("TEMPORAL_PROFILE"));
    let Some(path) = named_file
        .map(PathBuf::from)
        .or_else(|| default_file(environment))
    else {
        return match named_profile {
            Some(profile) => Err(("TEMPORAL_PROFILE".to_owned(), not_there(profile))),
            None => Ok(Profile::default()),
        };
    };
    if named_file.is_none() && !path.is_file() {
        return match named_profile {
            Some(_) => Err((
                "TEMPORAL_PROFILE".to_owned(),
                format!("the profile file {} does not exist", path.display()),
            )),
            None => Ok(Profile::default()),
        };
    }
    let table = table_of(&path).map_err(|wrong| (path.display().to_string(), wrong.to_string()))?;
    let name = named_profile.map_or("default", String::as_str);
    let profiles = table.get("profile").and_then(as_table);
    let Some(profile) = profiles
        .and_then(|profiles| profiles.get(name))
        .and_then(as_table)
    else {
        return match named_profile {
            Some(profile) => Err(("TEMPORAL_PROFILE".to_owned(), not_there(profile))),
            None => Ok(Profile::default()),
        };
    };
    let mut values: Vec<(&'static str, String)> = KEYS
        .iter()
        .filter_map(|(keys, variable)| Some((*variable, at(profile, keys)?)))
        .collect();
    if let Some(disabled) = at(profile, &["tls", "disabled"]) {
        values.push(("TEMPORAL_TLS", (disabled != "true").to_string()));
    // As in the SDKs: a `tls` section turns TLS on unless it is disabled there.
    } else if profile.contains_key("tls") {
        values.push(("TEMPORAL_TLS", "true".to_owned()));
    }
    Ok(Profile {
        origin: format!("{}, profile {name}", path.display()),
        values,
    })
}

fn not_there(profile: &str) -> String {
    format!("there is no profile `{profile}`; `temporal config list` lists the existing ones")
}

fn default_file(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let variable = |name: &str| {
        environment
            .get(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let home = || variable("HOME");
    // The folders of Go's `os.UserConfigDir`, which the Temporal CLI uses.
    let folder = if cfg!(target_os = "macos") {
        home()?.join("Library/Application Support")
    } else if cfg!(windows) {
        variable("AppData")?
    } else {
        variable("XDG_CONFIG_HOME").or_else(|| Some(home()?.join(".config")))?
    };
    Some(folder.join("temporalio").join("temporal.toml"))
}

fn table_of(path: &Path) -> Result<config::Map<String, Value>, Wrong> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("it cannot be read: {error}"))?;
    toml::table(&text)
}

fn as_table(value: &Value) -> Option<&config::Map<String, Value>> {
    match &value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

fn at(table: &config::Map<String, Value>, keys: &[&str]) -> Option<String> {
    let (last, parents) = keys.split_last()?;
    let table = parents
        .iter()
        .try_fold(table, |table, key| as_table(table.get(*key)?))?;
    match &table.get(*last)?.kind {
        ValueKind::Table(_) | ValueKind::Array(_) | ValueKind::Nil => None,
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    const FILE: &str = r#"
        [profile.default]
        address = "localhost:7233"
        [profile.prod]
        address = "orders.a1b2c.tmprl.cloud:7233"
        namespace = "orders.a1b2c"
        [profile.prod.tls]
        client_cert_path = "/etc/tls.pem"
        client_key_path = "/etc/tls.key"
        server_name = "orders.example.com"
        [profile.prod.codec]
        endpoint = "https://codec.example.com"
    "#;

    #[test]
    fn a_named_profile_is_read_and_the_default_one_without_a_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("temporal.toml");
        std::fs::write(&file, FILE).expect("written");
        let file = file.display().to_string();
        let default = read(&environment(&[("TEMPORAL_CONFIG_FILE", &file)])).expect("readable");
        assert_eq!(
            default.values,
            [("TEMPORAL_ADDRESS", "localhost:7233".to_owned())]
        );
        let prod = environment(&[("TEMPORAL_CONFIG_FILE", &file), ("TEMPORAL_PROFILE", "prod")]);
        let prod = read(&prod).expect("readable");
        assert!(
            prod.values
                .contains(&("TEMPORAL_CERT_PATH", "/etc/tls.pem".to_owned()))
        );
        assert!(prod.values.contains(&("TEMPORAL_TLS", "true".to_owned())));
        assert!(
            prod.origin.ends_with("temporal.toml, profile prod"),
            "{}",
            prod.origin
        );
    }

    #[test]
    fn a_selected_profile_must_exist_but_the_default_one_need_not() {
        assert_eq!(read(&environment(&[])), Ok(Profile::default()));
        assert_eq!(
            read(&environment(&[("HOME", "/nowhere")])),
            Ok(Profile::default())
        );
        let missing = read(&environment(&[
            ("HOME", "/nowhere"),
            ("TEMPORAL_PROFILE", "prod"),
        ]));
        assert_eq!(missing.expect_err("missing").0, "TEMPORAL_PROFILE");
        let missing = read(&environment(&[(
            "TEMPORAL_CONFIG_FILE",
            "/nowhere/temporal.toml",
        )]));
        assert!(missing.expect_err("missing").1.contains("cannot be read"));
    }

    #[test]
    fn a_broken_file_shows_no_line_of_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("temporal.toml");
        std::fs::write(&file, "[profile.default]\napi_key = \"s3cret\n").expect("written");
        let problem = read(&environment(&[(
            "TEMPORAL_CONFIG_FILE",
            &file.display().to_string(),
        )]));
        let (_, problem) = problem.expect_err("broken");
        assert!(
            problem.contains("TOML") && !problem.contains("s3cret"),
            "{problem}"
        );
    }
}
