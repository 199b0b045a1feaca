//! Interprets the labels of a series.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{ACCOUNT, IS_BACKGROUND, NAMESPACE, NAMESPACE_MODE, SERIES_LABELS, is_background, is_standby};
use crate::Sample;

/// Prometheus renames a label of the service with this prefix if the scrape job sets its own and
/// `honor_labels` is false.
const RENAMED: &str = "exported_";

/// One series of a namespace, as described by its labels.
///
/// The service's labels distinguish series, in any order. Labels that a scrape pipeline adds do not, so that
/// two scrapers of the same endpoint count once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Series<'a> {
    namespace: Option<Cow<'a, str>>,
    account: Option<Cow<'a, str>>,
    is_background: bool,
    is_standby: bool,
    is_overwritten: bool,
    identity: u64,
}

impl<'a> Series<'a> {
    /// The label that contains the namespace if a scrape job has overwritten [`NAMESPACE`], which is useless
    /// in that case.
    pub const OVERWRITTEN_NAMESPACE: &'static str = "exported_temporal_namespace";

    /// Returns the series with these labels.
    pub fn of<N: AsRef<str>, V: Into<Cow<'a, str>>>(labels: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut series = Self::default();
        for (name, value) in labels {
            series.add(name.as_ref(), value.into());
        }
        series
    }

    /// Returns the series of a sample.
    pub fn of_sample(sample: &Sample<'a>) -> Self {
        let labels = sample.labels();
        Self::of(labels.map(|label| (label.name.unescaped(), label.value.unescaped())))
    }

    fn add(&mut self, name: &str, value: Cow<'a, str>) {
        match name {
            NAMESPACE => self.namespace = Some(value),
            ACCOUNT => self.account = Some(value),
            Self::OVERWRITTEN_NAMESPACE => self.is_overwritten = true,
            _ if !Self::is_label_of_service(name) => {}
            _ => {
                match name {
                    IS_BACKGROUND => self.is_background = is_background(&value),
                    NAMESPACE_MODE => self.is_standby = is_standby(&value),
                    _ => {}
                }
                // With fixed keys, because folds that were made separately are merged. Summed, so that the
                // order of labels does not matter.
                let mut hasher = DefaultHasher::new();
                (name, &*value).hash(&mut hasher);
                self.identity = self.identity.wrapping_add(hasher.finish());
            }
        }
    }

    /// Returns whether the service sets this label, including labels that a scrape job has renamed.
    pub fn is_label_of_service(label: &str) -> bool {
        SERIES_LABELS.contains(&label.strip_prefix(RENAMED).unwrap_or(label))
    }

    /// Returns the namespace label, unless it is empty or overwritten.
    pub fn namespace(&self) -> Option<&str> {
        let namespace = self.namespace.as_deref().filter(|name| !name.is_empty());
        namespace.filter(|_| !self.is_overwritten)
    }

    /// Returns the full id of the namespace, or only its name if no label contains the account.
    pub fn namespace_id(&self) -> Option<Cow<'_, str>> {
        let name = self.namespace()?;
        let account = self.account.as_deref().filter(|account| !account.is_empty());
        Some(match account {
            Some(account) if !name.contains('.') => Cow::Owned(format!("{name}.{account}")),
            _ => Cow::Borrowed(name),
        })
    }

    /// Returns whether this is background work, which does not count toward a limit.
    pub const fn is_background(&self) -> bool {
        self.is_background
    }

    /// Returns whether this is a standby replica, which does not count toward a limit.
    pub const fn is_standby(&self) -> bool {
        self.is_standby
    }

    /// Returns whether a scrape job has overwritten the namespace label.
    pub const fn is_overwritten(&self) -> bool {
        self.is_overwritten
    }

    /// Returns a value that distinguishes the series of one family and namespace.
    pub(super) const fn identity(&self) -> u64 {
        self.identity
    }

    /// Returns the series without borrowing from its labels.
    pub fn into_owned(self) -> Series<'static> {
        let owned = |text: Option<Cow<'a, str>>| text.map(|text| Cow::Owned(text.into_owned()));
        Series {
            namespace: owned(self.namespace),
            account: owned(self.account),
            is_background: self.is_background,
            is_standby: self.is_standby,
            is_overwritten: self.is_overwritten,
            identity: self.identity,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_completes_a_name_that_has_none() {
        let id = |labels: &[(&'static str, &'static str)]| {
            Series::of(labels.iter().copied())
                .namespace_id()
                .map(Cow::into_owned)
        };
        assert_eq!(id(&[(NAMESPACE, "pay.a1b2c")]).as_deref(), Some("pay.a1b2c"));
        assert_eq!(
            id(&[(NAMESPACE, "pay"), (ACCOUNT, "a1b2c")]).as_deref(),
            Some("pay.a1b2c")
        );
        assert_eq!(
            id(&[(NAMESPACE, "pay.a1b2c"), (ACCOUNT, "a1b2c")]).as_deref(),
            Some("pay.a1b2c")
        );
        assert_eq!(id(&[(NAMESPACE, "pay")]).as_deref(), Some("pay"));
        assert_eq!(id(&[(NAMESPACE, "")]), None);
        assert_eq!(
            id(&[(NAMESPACE, "x"), (Series::OVERWRITTEN_NAMESPACE, "pay.a1b2c")]),
            None
        );
    }

    #[test]
    fn the_order_of_labels_and_those_of_a_pipeline_make_no_difference() {
        let one = Series::of([("region", "a"), ("operation", "Poll"), ("pod", "one")]);
        let other = Series::of([("pod", "two"), ("operation", "Poll"), ("region", "a")]);
        assert_eq!(one, other);
        assert_ne!(one, Series::of([("region", "Poll"), ("operation", "a")]));
    }
}
