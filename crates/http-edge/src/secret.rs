//! A secret that may be kept in a file, which is read again when the service rejects the secret.
//!
//! Clones share the value: if one of them reads it again, all of them use the new value.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

/// A key, token, password or secret address. `Debug` shows at most the path of its file.
#[derive(Debug, Clone)]
pub struct Secret {
    value: Arc<RwLock<SecretString>>,
    file: Option<Arc<Path>>,
}

/// Why a secret file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// The file cannot be read.
    #[error("the file {} cannot be read: {cause}", .path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Why the file cannot be read.
        cause: std::io::Error,
    },
    /// The file is not text.
    #[error("the file {} is not UTF-8 text: save it as UTF-8", .0.display())]
    NotText(PathBuf),
    /// The file is empty.
    #[error("the file {} is empty: write the secret into it", .0.display())]
    Empty(PathBuf),
}

/// Reads a secret from a file, and strips surrounding whitespace, a byte-order mark, and one pair of quotes.
///
/// # Errors
///
/// If the file cannot be read, is not UTF-8 text, or is empty.
pub fn read_secret_file(path: &Path) -> Result<SecretString, SecretFileError> {
    let bytes = std::fs::read(path).map_err(|cause| SecretFileError::Unreadable {
        path: path.to_owned(),
        cause,
    })?;
    let text = String::from_utf8(bytes).map_err(|_| SecretFileError::NotText(path.to_owned()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    match without_quotes(text.trim()) {
        "" => Err(SecretFileError::Empty(path.to_owned())),
        text => Ok(text.to_owned().into()),
    }
}

/// Strips one pair of quotes around a whole value, as `docker run --env-file` passes it on.
///
/// `"a","b"` is a list of quoted items, not one quoted value, and is returned unchanged.
pub fn without_quotes(text: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
        if let Some(inner) = inner.filter(|inner| !inner.contains(quote)) {
            return inner.trim();
        }
    }
    text
}

/// Returns the `Authorization` header for a bearer key; `None` if the key contains characters that are not
/// allowed in a header.
pub fn bearer(key: &SecretString) -> Option<HeaderValue> {
    let text = key.expose_secret();
    // Stricter than HTTP, which allows spaces and tabs: in a key they are left over from copying it.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {text}")).ok()?;
    // Keeps the key out of debug output and out of the header compression of HTTP/2.
    value.set_sensitive(true);
    Some(value)
}

impl Secret {
    /// Sets the file that contains the secret.
    #[must_use]
    pub fn kept_in(self, file: &Path) -> Self {
        Self {
            file: Some(file.into()),
            ..self
        }
    }

    /// Returns the file that contains the secret.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Returns the secret as it was last read.
    pub fn current(&self) -> SecretString {
        self.value.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the secret to try after `refused` was rejected: the one that a clone has read in the meantime,
    /// or the current content of the file. `None` if it is the same.
    pub fn renew(&self, refused: &SecretString) -> Option<SecretString> {
        self.renew_if(refused, |_| true)
    }

    /// Like [`Secret::renew`], but ignores unusable file content, such as a file that is being written.
    pub fn renew_if(
        &self,
        refused: &SecretString,
        is_usable: impl FnOnce(&SecretString) -> bool,
    ) -> Option<SecretString> {
        let is_other = |secret: &SecretString| secret.expose_secret() != refused.expose_secret();
        let current = self.current();
        if is_other(&current) {
            return Some(current);
        }
        let file = self.file.as_deref()?;
        match read_secret_file(file) {
            Ok(read) if is_other(&read) && is_usable(&read) => {
                *self.value.write().unwrap_or_else(PoisonError::into_inner) = read.clone();
                tracing::info!(file = %file.display(), "a secret file changed, using the new value");
                Some(read)
            }
            Ok(_) => None,
            Err(error) => {
                tracing::warn!("cannot reload a secret, keeping the current one: {error}");
                None
            }
        }
    }
}

impl From<SecretString> for Secret {
    fn from(value: SecretString) -> Self {
        Self {
            value: Arc::new(RwLock::new(value)),
            file: None,
        }
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self::from(SecretString::from(value))
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self::from(SecretString::from(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::plain("key", "key")]
    #[case::double("\"key\"", "key")]
    #[case::single("'key'", "key")]
    #[case::blanks_inside("\" key \"", "key")]
    #[case::one_side("\"key", "\"key")]
    #[case::mixed("\"key'", "\"key'")]
    #[case::list("\"a\",\"b\"", "\"a\",\"b\"")]
    #[case::only_one_pair("\"'key'\"", "'key'")]
    #[case::nothing_inside("\"\"", "")]
    #[case::one_quote("\"", "\"")]
    fn one_pair_of_quotes_is_stripped(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(without_quotes(text), expected);
    }

    #[rstest]
    #[case::line_end(b"key\n", Ok("key"))]
    #[case::byte_order_mark(b"\xef\xbb\xbfkey\r\n", Ok("key"))]
    #[case::quoted(b"\"key\"\n", Ok("key"))]
    #[case::utf16(b"\xff\xfek\0e\0y\0", Err("is not UTF-8 text"))]
    #[case::empty(b" \n", Err("is empty"))]
    #[case::only_quotes(b"\"\"\n", Err("is empty"))]
    fn common_variants_of_secret_files_are_accepted(
        #[case] bytes: &[u8],
        #[case] expected: Result<&str, &str>,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, bytes).expect("written");
        match (read_secret_file(&path), expected) {
            (Ok(secret), Ok(expected)) => assert_eq!(secret.expose_secret(), expected),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (got, _) => panic!("{got:?}"),
        }
    }

    #[test]
    fn a_refused_secret_is_read_again_and_shared_by_clones() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, "one\n").expect("written");
        let first = Secret::from("one").kept_in(&path);
        let second = first.clone();
        let refused = first.current();
        assert!(first.renew(&refused).is_none(), "the file is unchanged");
        std::fs::write(&path, "two\n").expect("written");
        assert!(first.renew_if(&refused, |_| false).is_none(), "not usable");
        assert_eq!(first.renew(&refused).expect("a new one").expose_secret(), "two");
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(second.renew(&refused).expect("shared").expose_secret(), "two");
        assert!(
            second.renew(&second.current()).is_none(),
            "no file, no other secret"
        );
        assert!(!format!("{first:?}").contains("two"));
    }
}
