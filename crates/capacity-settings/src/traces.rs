//! Configures the collector for traces from OpenTelemetry's standard variables.
//!
//! Values are checked only if traces are on, because other programs in the same environment read the same variables.

use std::time::Duration;

use otlp_spans::{ConfigError, OtlpConfig};
use percent_encoding::percent_decode_str;

use crate::mistake::Mistake;
use crate::settings::Reader;
use crate::values;

const BASE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const URL: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const CA: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
const TIMEOUT: &str = "OTEL_EXPORTER_OTLP_TIMEOUT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const DISABLED: &str = "OTEL_SDK_DISABLED";
const SERVICE: &str = "OTEL_SERVICE_NAME";
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

impl Reader<'_> {
    pub(crate) fn traces(&mut self) -> Option<OtlpConfig> {
        let is = |found: Option<&crate::layers::Found>, word: &str| {
            found.is_some_and(|found| found.text.eq_ignore_ascii_case(word))
        };
        // As OpenTelemetry defines it: the specific variable wins, and its URL is used as it is.
        let name = [URL, BASE].into_iter().find(|name| self.found(name).is_some())?;
        if is(self.found(DISABLED), "true") || is(self.found(EXPORTER), "none") {
            return None;
        }
        self.read(EXPORTER, |text| match text {
            "otlp" => Ok(()),
            _ => Err("use otlp, or none to send no traces".to_owned()),
        });
        self.read(DISABLED, values::boolean);
        self.read(PROTOCOL, |text| match text {
            "http/protobuf" => Ok(()),
            _ => Err(format!(
                "only http/protobuf is supported: use it, with the collector's HTTP port (usually 4318) in {name}, or set {EXPORTER}=none to send no traces"
            )),
        });
        let url = self.found(name)?.text.clone();
        let mut builder = if name == URL {
            OtlpConfig::builder_at(url)
        } else {
            OtlpConfig::builder(url)
        };
        if let Some(headers) = self.secret(HEADERS) {
            builder = builder.headers(headers);
        }
        if let Some(pem) = self.read(CA, |path| std::fs::read(path).map_err(|error| error.to_string())) {
            builder = builder.certificate(pem);
        }
        if let Some(milliseconds) = self.read(TIMEOUT, |text| values::whole(text, 1, 60_000)) {
            builder = builder.timeout(Duration::from_millis(milliseconds));
        }
        if let Some(service) = self.found(SERVICE) {
            builder = builder.service_name(service.text.clone());
        }
        for (name, value) in self.read(ATTRIBUTES, attributes).unwrap_or_default() {
            builder = builder.attribute(name, value);
        }
        match builder.build() {
            Ok(config) => {
                self.warnings.extend(config.warnings());
                Some(config)
            }
            Err(errors) => {
                for error in errors.errors() {
                    self.mistaken_traces(name, error);
                }
                None
            }
        }
    }

    /// Assigns a mistake to its setting. An address that may contain a password is not shown.
    fn mistaken_traces(&mut self, url: &'static str, error: &ConfigError) {
        let name = match error {
            ConfigError::Headers => HEADERS,
            ConfigError::Certificates(_) => CA,
            ConfigError::Timeout => TIMEOUT,
            _ => url,
        };
        let Some(found) = self.found(name) else { return };
        let mistake = if name == url && found.text.contains('@') {
            Mistake::of_name(name, Some(found.origin.clone()), error.to_string())
        } else {
            Mistake::of_value(name, &found.text, &found.origin, error.to_string())
        };
        self.mistakes.push(mistake);
    }
}

/// Parses attributes in OpenTelemetry's notation: `name=value,name=value`, percent-encoded.
fn attributes(text: &str) -> Result<Vec<(String, String)>, String> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let attribute = |item: &str| {
        let (name, value) = item.split_once('=')?;
        let decoded = |text: &str| {
            percent_decode_str(text.trim())
                .decode_utf8()
                .map(std::borrow::Cow::into_owned)
        };
        let (name, value) = (decoded(name).ok()?, decoded(value).ok()?);
        (!name.is_empty()).then_some((name, value))
    };
    let attributes: Option<Vec<(String, String)>> = items.map(attribute).collect();
    attributes
        .filter(|attributes| attributes.len() <= 64)
        .ok_or_else(|| "use at most 64 attributes as name=value, separated by commas, with special characters percent-encoded".to_owned())
}
