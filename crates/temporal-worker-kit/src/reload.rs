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
