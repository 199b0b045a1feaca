//! Certificates and keys in files, read again when they change.

use crate::connection::{ConnectError, ConnectionSettings, Credential, Pem};

/// The contents of all files of the connection.
#[derive(PartialEq, Eq)]
pub(crate) struct Contents {
    /// The API key file.
    api_key: Option<Vec<u8>>,
    /// Certificates and keys: these need a new connection.
    certificates: Vec<Vec<u8>>,
}

/// What a change of the files asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    NewKey,
    NewConnection,
}

impl Contents {
    pub(crate) fn read(settings: &ConnectionSettings) -> Result<Self, ConnectError> {
        let pems: Vec<&Pem> = match &settings.credential {
            Credential::Certificate { certificate, key } => vec![certificate, key],
            Credential::None | Credential::ApiKey(_) | Credential::ApiKeyFile(_) => Vec::new(),
        };
        let pems = pems.into_iter().chain(&settings.server_ca);
        let api_key = match &settings.credential {
            Credential::ApiKeyFile(path) => Some(Pem::File(path.clone()).read()?),
            Credential::None | Credential::ApiKey(_) | Credential::Certificate { .. } => None,
        };
        Ok(Self {
            api_key,
            certificates: pems
                .filter(|pem| matches!(pem, Pem::File(_)))
                .map(Pem::read)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether any file can change at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.api_key.is_none() && self.certificates.is_empty()
    }

    pub(crate) fn change_to(&self, next: &Self) -> Change {
        if self.certificates != next.certificates {
            Change::NewConnection
        } else if self.api_key != next.api_key {
            Change::NewKey
        } else {
            Change::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_key_is_put_into_use_and_a_changed_certificate_needs_a_connection() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("written");
        write("key", "one");
        write("ca", "one");
        let settings = ConnectionSettings {
            credential: Credential::ApiKeyFile(path("key")),
            server_ca: Some(Pem::File(path("ca"))),
            ..ConnectionSettings::default()
        };
        let first = Contents::read(&settings).expect("readable");
        assert!(!first.is_empty());
        assert_eq!(
            first.change_to(&Contents::read(&settings).expect("readable")),
            Change::Nothing
        );
        write("key", "two");
        assert_eq!(
            first.change_to(&Contents::read(&settings).expect("readable")),
            Change::NewKey
        );
        write("ca", "two");
        assert_eq!(
            first.change_to(&Contents::read(&settings).expect("readable")),
            Change::NewConnection
        );
        std::fs::remove_file(path("ca")).expect("removed");
        assert!(Contents::read(&settings).is_err());
        assert!(
            Contents::read(&ConnectionSettings::default())
                .expect("nothing to read")
                .is_empty()
        );
    }
}
