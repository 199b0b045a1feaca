//! Connection settings from Temporal's own configuration file, the `[connection]` table and the environment.
//!
//! The environment overrides the table, which overrides the profile of Temporal's file (the profile
//! `TEMPORAL_PROFILE`, or `default`, in the file set in `TEMPORAL_CONFIG_FILE` or used by the Temporal CLI).

use std::collections::{BTreeMap, HashMap};

use http_edge::{Secret, read_secret_file};
use temporalio_common::envconfig::{
    ClientConfigProfile, DataSource, LoadClientConfigProfileOptions, load_client_config_profile,
};

use crate::connection_settings::{ConnectionSettings, Credential, Pem};
use crate::mistake::Mistake;
use crate::reader::{Document, Section};

/// Names of each setting: the key in `[connection]`, then its variables, the preferred one first.
const NAMES: &[(&str, &[&str])] = &[
    ("address", &["TEMPORAL_ADDRESS", "TEMPORAL_URL", "TEMPORAL_HOST"]),
    ("namespace", &["TEMPORAL_NAMESPACE"]),
    ("api_key", &["TEMPORAL_API_KEY"]),
    ("api_key_file", &["TEMPORAL_API_KEY_FILE"]),
    ("tls", &["TEMPORAL_TLS"]),
    (
        "client_cert",
        &[
            "TEMPORAL_TLS_CLIENT_CERT_PATH",
            "TEMPORAL_TLS_CLIENT_CERT_DATA",
            "TEMPORAL_CERT_PATH",
            "TEMPORAL_CLIENT_CERT",
        ],
    ),
    (
        "client_key",
        &[
            "TEMPORAL_TLS_CLIENT_KEY_PATH",
            "TEMPORAL_TLS_CLIENT_KEY_DATA",
            "TEMPORAL_KEY_PATH",
            "TEMPORAL_CLIENT_KEY",
        ],
    ),
    (
        "server_ca",
        &[
            "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
            "TEMPORAL_TLS_SERVER_CA_CERT_DATA",
            "TEMPORAL_SERVER_CA",
        ],
    ),
    ("server_name", &["TEMPORAL_TLS_SERVER_NAME"]),
];

/// Returns the environment variables of this process that are valid text.
pub fn process_environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// A value and its origin.
type Found = (String, String);

/// The values that were set, by key.
struct Layers(BTreeMap<&'static str, Found>);

impl Layers {
    fn set(&mut self, key: &'static str, value: String, place: &str) {
        // A credential replaces the one of a lower layer completely.
        if key == "api_key" || key == "api_key_file" {
            self.0.remove("api_key");
            self.0.remove("api_key_file");
        }
        self.0.insert(key, (value, place.to_owned()));
    }

    fn take(&mut self, key: &str) -> Option<Found> {
        self.0.remove(key)
    }
}

/// Returns the settings. Mistakes are added to the document's.
pub(crate) fn connection_settings(
    section: Option<Section<'_>>,
    document: &mut Document<'_>,
    environment: &BTreeMap<String, String>,
) -> ConnectionSettings {
    let mut layers = Layers(BTreeMap::new());
    match profile(environment) {
        Ok(profile) => from_profile(&profile, &mut layers),
        Err(mistake) => document.mistakes.push(mistake),
    }
    let mut settings = ConnectionSettings::default();
    if let Some(section) = section {
        from_section(section, document, &mut layers, &mut settings);
    }
    from_environment(environment, document, &mut layers);
    apply(&mut layers, document, &mut settings);
    settings
}

fn profile(environment: &BTreeMap<String, String>) -> Result<ClientConfigProfile, Mistake> {
    // Only the variables that select the file are passed on: the rest of the environment is our own layer
    // above.
    let selecting: HashMap<String, String> = [
        "TEMPORAL_CONFIG_FILE",
        "TEMPORAL_PROFILE",
        "HOME",
        "XDG_CONFIG_HOME",
    ]
    .iter()
    .filter_map(|name| Some(((*name).to_owned(), environment.get(*name)?.clone())))
    .collect();
    let place = environment
        .get("TEMPORAL_CONFIG_FILE")
        .map_or("Temporal's configuration file", String::as_str);
    if let Some(file) = environment.get("TEMPORAL_CONFIG_FILE")
        // The client library treats a missing file like an empty one.
        && !std::path::Path::new(file).is_file()
    {
        let problem =
            "the file set in `TEMPORAL_CONFIG_FILE` does not exist; fix the path or unset the variable";
        return Err(Mistake::new(place, problem));
    }
    load_client_config_profile(LoadClientConfigProfileOptions::default(), Some(&selecting)).map_err(|error| {
        // The second line of a TOML error quotes the file, which may contain a key.
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default().to_owned();
        Mistake::new(place, format!("cannot use Temporal's configuration: {first}"))
    })
}

fn from_profile(profile: &ClientConfigProfile, layers: &mut Layers) {
    const PLACE: &str = "Temporal's configuration file";
    let mut set = |key, value: Option<String>| {
        if let Some(value) = value {
            layers.set(key, value, PLACE);
        }
    };
    let source = |source: &Option<DataSource>| {
        source.as_ref().and_then(|source| match source {
            DataSource::Path(path) => Some(path.clone()),
            DataSource::Data(data) => Some(String::from_utf8_lossy(data).into_owned()),
            _ => None,
        })
    };
    set("address", profile.address.clone());
    set("namespace", profile.namespace.clone());
    set("api_key", profile.api_key.clone());
    if let Some(tls) = &profile.tls {
        // In Temporal's file, a `tls` table alone enables TLS.
        set("tls", Some((tls.disabled != Some(true)).to_string()));
        set("client_cert", source(&tls.client_cert));
        set("client_key", source(&tls.client_key));
        set("server_ca", source(&tls.server_ca_cert));
        set("server_name", tls.server_name.clone());
    }
}

fn from_section(
    mut section: Section<'_>,
    document: &mut Document<'_>,
    layers: &mut Layers,
    settings: &mut ConnectionSettings,
) {
    for key in [
        "address",
        "namespace",
        // No `api_key`: configuration files are shared and committed, so a key has its own file or a
        // variable.
        "api_key_file",
        "client_cert",
        "client_key",
        "server_ca",
        "server_name",
    ] {
        if let Some((value, line)) = section.string(document, key) {
            let place = document.place(line);
            layers.set(key, value, &place);
        }
    }
    if let Some((tls, line)) = section.flag(document, "tls") {
        let place = document.place(line);
        layers.set("tls", tls.to_string(), &place);
    }
    if let Some((identity, _)) = section.string(document, "identity") {
        settings.identity = identity;
    }
    if let Some((connections, _)) = section.count(document, "connections", 1..=64) {
        settings.connections = connections;
    }
    section.finish(document);
}

fn from_environment(
    environment: &BTreeMap<String, String>,
    document: &mut Document<'_>,
    layers: &mut Layers,
) {
    for (key, variables) in NAMES {
        let given: Vec<(&str, &str)> = variables
            .iter()
            .filter_map(|name| Some((*name, environment.get(*name)?.trim())))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        // An empty variable counts as unset: containers often pass one on for each optional setting.
        let Some((name, value)) = given.first() else {
            continue;
        };
        if let Some((other, _)) = given.iter().find(|(_, other)| other != value) {
            let problem = format!("`{name}` and `{other}` are synonyms with different values; keep `{name}`");
            document.mistakes.push(Mistake::new("environment", problem));
        }
        layers.set(key, (*value).to_owned(), &format!("environment, {name}"));
    }
}

fn apply(layers: &mut Layers, document: &mut Document<'_>, settings: &mut ConnectionSettings) {
    let mut wrong = |place: &str, problem: String| document.mistakes.push(Mistake::new(place, problem));
    if let Some((address, place)) = layers.take("address") {
        let (bare, encrypted) = match address.split_once("://") {
            Some(("https" | "grpcs", rest)) => (rest, true),
            Some(("http" | "grpc", rest)) => (rest, false),
            _ => (address.as_str(), false),
        };
        let bare = bare.trim_end_matches('/');
        // Temporal's own default port, as in the CLI.
        let has_port = bare
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        settings.encrypted |= encrypted;
        settings.address = if has_port {
            bare.to_owned()
        } else {
            format!("{bare}:7233")
        };
        if bare.is_empty() || bare.contains(['/', ' ', '@']) {
            wrong(
                &place,
                format!("`{address}` is not a host and port such as localhost:7233"),
            );
        }
    }
    if let Some((namespace, _)) = layers.take("namespace") {
        settings.namespace = namespace;
    }
    let mut tls_off = None;
    if let Some((tls, place)) = layers.take("tls") {
        match tls.as_str() {
            "true" | "1" => settings.encrypted = true,
            // Judged below, when it is known whether a credential is set.
            "false" | "0" => tls_off = Some(place),
            _ => wrong(&place, format!("`tls = {tls}` must be true or false")),
        }
    }
    let certificate = (layers.take("client_cert"), layers.take("client_key"));
    let api_key = layers.take("api_key");
    let api_key_file = layers.take("api_key_file");
    match certificate {
        (Some((certificate, _)), Some((key, _))) => {
            settings.credential = Credential::Certificate {
                certificate: Pem::of(&certificate),
                key: Pem::of(&key),
            };
        }
        (Some((_, place)), None) => wrong(
            &place,
            "a client certificate needs its key: set `client_key`".to_owned(),
        ),
        (None, Some((_, place))) => wrong(
            &place,
            "a client key needs its certificate: set `client_cert`".to_owned(),
        ),
        (None, None) => {}
    }
    // An API key takes precedence over a certificate, as in the Temporal CLI.
    if let Some((file, place)) = api_key_file {
        let file = std::path::Path::new(&file);
        match read_secret_file(file) {
            Ok(key) => settings.credential = Credential::ApiKey(Secret::from(key).kept_in(file)),
            Err(error) => {
                // No other credential is used instead.
                settings.credential = Credential::None;
                wrong(&place, error.to_string());
            }
        }
    } else if let Some((key, _)) = api_key {
        settings.credential = Credential::ApiKey(key.into());
    }
    if let Some(place) = tls_off
        && !matches!(settings.credential, Credential::None)
    {
        let problem = "TLS is disabled, but a credential is set, which must not be sent in clear text; remove one of them";
        wrong(&place, problem.to_owned());
    }
    settings.server_ca = layers.take("server_ca").map(|(text, _)| Pem::of(&text));
    settings.server_name = layers.take("server_name").map(|(name, _)| name);
    for (what, pem) in pem_files(settings) {
        if !pem.is_file() {
            wrong(what, format!("`{}` does not exist", pem.display()));
        }
    }
}

fn pem_files(settings: &ConnectionSettings) -> Vec<(&'static str, std::path::PathBuf)> {
    let mut files = Vec::new();
    let mut add = |what, pem: &Pem| {
        if let Pem::File(path) = pem {
            files.push((what, path.clone()));
        }
    };
    if let Credential::Certificate { certificate, key } = &settings.credential {
        add("client_cert", certificate);
        add("client_key", key);
    }
    if let Some(ca) = &settings.server_ca {
        add("server_ca", ca);
    }
    files
}
