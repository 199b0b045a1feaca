//! Secrets: where they come from, and that they are never shown.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rstest::rstest;

use super::{effective, folder, loaded};
use crate::{CATALOG, Inputs, Needs, load};

#[test]
fn a_secret_comes_from_a_file_and_is_never_shown() {
    let folder = folder(&[("ops.key", "hunter2\n")]);
    let environment = [("TEMPORAL_CLOUD_OPS_API_KEY_FILE", "ops.key")];
    let settings = loaded(folder.path(), &environment).expect("valid");
    assert!(settings.cloud_ops.is_some());
    assert_eq!(
        effective(&settings, "TEMPORAL_CLOUD_OPS_API_KEY")
            .value
            .as_deref(),
        Some("(hidden)")
    );
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[cfg(unix)]
#[test]
fn a_world_readable_secret_causes_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    for (mode, expected) in [(0o644, 2), (0o600, 0)] {
        let folder = folder(&[
            ("ops.key", "hunter2"),
            (".env", "TEMPORAL_CLOUD_METRICS_API_KEY=hunter2"),
        ]);
        for file in ["ops.key", ".env"] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(folder.path().join(file), permissions).expect("set");
        }
        let settings =
            loaded(folder.path(), &[("TEMPORAL_CLOUD_OPS_API_KEY_FILE", "ops.key")]).expect("valid");
        assert_eq!(settings.warnings.len(), expected, "{:?}", settings.warnings);
    }
}

#[rstest]
#[case::certificate_as_path(
    "TEMPORAL_CERT_PATH",
    "-----BEGIN CERTIFICATE-----\nhunter2",
    "TEMPORAL_TLS_CLIENT_CERT_DATA"
)]
#[case::key_as_path(
    "TEMPORAL_KEY_PATH",
    "-----BEGIN PRIVATE KEY-----\nhunter2",
    "TEMPORAL_TLS_CLIENT_KEY_DATA"
)]
#[case::path_as_data("TEMPORAL_TLS_CLIENT_KEY_DATA", "/etc/hunter2.key", "contains no PEM text")]
#[case::cut(
    "TEMPORAL_TLS_SERVER_CA_CERT_DATA",
    "-----BEGIN CERTIFICATE-----hunter2",
    "truncated or damaged"
)]
fn a_certificate_in_the_wrong_setting_is_refused_and_not_shown(
    #[case] name: &str,
    #[case] value: &str,
    #[case] expected: &str,
) {
    let mistakes = loaded(folder(&[]).path(), &[(name, value)]).expect_err("refused");
    let text = format!("{mistakes} {mistakes:?}");
    assert!(
        text.contains(expected) && text.contains(name) && !text.contains("hunter2"),
        "{text}"
    );
}

proptest! {
    #[test]
    fn no_input_panics_and_no_secret_is_shown(
        dotenv in prop::collection::vec(
            (prop::sample::select(CATALOG.iter().map(|entry| entry.name).collect::<Vec<_>>()), "[ -~]{0,12}"), 0..6,
        ),
        environment in prop::collection::btree_map("[A-Z_]{1,20}", "[ -~]{0,12}", 0..4),
    ) {
        let lines: Vec<String> = dotenv.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let folder = folder(&[(".env", &lines.concat())]);
        let mut environment: BTreeMap<String, String> = environment;
        environment.insert("TEMPORAL_CLOUD_OPS_API_KEY".to_owned(), "SECRET hunter2".to_owned());
        let inputs = Inputs { environment, directory: Some(folder.path().to_owned()), ..Inputs::default() };
        let shown = match load(&inputs, Needs { cloud_keys: true, ..Needs::default() }) {
            Ok(settings) => format!("{settings:?}"),
            Err(mistakes) => format!("{mistakes} {mistakes:?}"),
        };
        prop_assert!(!shown.contains("hunter2"), "{}", shown);
    }
}
