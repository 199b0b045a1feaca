//! Certificates and keys in files, which are read again when they change.

use crate::connect_error::ConnectError;
use crate::connection_settings::ConnectionSettings;

/// The contents of a connection's certificate and key files.
#[derive(PartialEq, Eq)]
pub(crate) struct Contents(Vec<Vec<u8>>);

impl Contents {
    pub(crate) fn read(settings: &ConnectionSettings) -> Result<Self, ConnectError> {
        settings.pem_files().map(Self)
    }

    /// Returns whether there are no files that can change.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection_settings::Pem;

    #[test]
    fn a_changed_certificate_is_seen_and_a_missing_one_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca");
        std::fs::write(&file, "one").expect("written");
        let settings = ConnectionSettings {
            server_ca: Some(Pem::File(file.clone())),
            ..ConnectionSettings::default()
        };
        let read = || Contents::read(&settings);
        let first = read().expect("readable");
        assert!(!first.is_empty() && first == read().expect("readable"));
        std::fs::write(&file, "two").expect("written");
        assert!(first != read().expect("readable"));
        std::fs::remove_file(&file).expect("removed");
        assert!(read().is_err());
        assert!(
            Contents::read(&ConnectionSettings::default())
                .expect("nothing to read")
                .is_empty()
        );
    }
}
