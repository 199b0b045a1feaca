//! Short queries before a long read: whether a server is a Prometheus API, which families it has, and at what interval samples
//! are stored.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use crate::answer::{self, LabelSet, Sink};
use crate::client::{Answer, PrometheusClient};
use crate::error::{Error, ErrorKind};
use crate::samples::Span;
use crate::selector::{ceil_ms, is_family_name, is_label_name, quoted, range, seconds, selector};

/// Period in which to look for a family or an interval, in milliseconds.
const LOOK_BACK_MS: i64 = 60 * 60 * 1_000;

/// Whether a family has samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Presence {
    /// It has samples.
    Present,
    /// It has no samples.
    Absent,
    /// The server found none, but reported that its response may be incomplete.
    Unknown,
}

impl Presence {
    /// Returns whether there are certainly samples.
    pub fn is_present(self) -> bool {
        self == Self::Present
    }
}

/// Product and version of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// Name of the server, if it reports one (Mimir does).
    pub application: Option<String>,
    /// Version of the server, if it reports one. `VictoriaMetrics` reports the version of the Prometheus it
    /// is compatible with.
    pub version: Option<String>,
}

impl PrometheusClient {
    /// Returns whether each family has samples in the hour that ends at `at`, under the additional labels of
    /// the configuration.
    ///
    /// A family without samples is not necessarily missing: Temporal Cloud's throttling families have no
    /// samples while nothing is throttled.
    ///
    /// # Errors
    ///
    /// If a name is not a valid family name, or the server cannot be queried.
    pub async fn families_present(&self, families: &[&str], at: Timestamp) -> Result<Vec<Presence>, Error> {
        const OPERATION: &str = "look for metric families in Prometheus";
        let failed = |kind| Error::new(OPERATION, kind);
        let mut found = Vec::with_capacity(families.len());
        for family in families {
            let selector = self.selector(family).map_err(failed)?;
            let query = format!("count(count_over_time({selector}[{LOOK_BACK_MS}ms]))");
            let answer = self
                .query(&query, &seconds(ceil_ms(at)), &mut 0)
                .await
                .map_err(failed)?;
            let series = self.first_series(&answer).map_err(failed)?;
            found.push(match series {
                Some(_) => Presence::Present,
                // Absent only if the server has looked everywhere: a missing store is not a missing family.
                None if answer.envelope.is_partial() => Presence::Unknown,
                None => Presence::Absent,
            });
        }
        Ok(found)
    }

    /// Returns the families with samples at a time whose name starts with `prefix` and contains `word`.
    ///
    /// # Errors
    ///
    /// If the texts cannot be part of a family name, or the server cannot be queried.
    pub async fn families_like(&self, prefix: &str, word: &str, at: Timestamp) -> Result<Vec<String>, Error> {
        const OPERATION: &str = "look for metric families in Prometheus";
        let failed = |kind| Error::new(OPERATION, kind);
        if !is_family_name(prefix) || !is_family_name(word) {
            let why = format!("`{prefix}` or `{word}` is not part of a metric family's name");
            return Err(failed(ErrorKind::Question(why)));
        }
        // Samples appear three to four minutes after they were measured, and an instant query looks back five
        // minutes.
        let query = format!(
            "group by (family) (label_replace({{__name__=~\"{prefix}.*{word}.*\"}} offset 3m, \"family\", \"$1\", \"__name__\", \"(.*)\"))"
        );
        let answer = self
            .query(&query, &seconds(ceil_ms(at)), &mut 0)
            .await
            .map_err(failed)?;
        let mut names = Names::default();
        answer::hand_out(&answer.body, &mut names).map_err(|error| {
            failed(ErrorKind::Unreadable {
                host: self.host.clone(),
                why: error.to_string(),
            })
        })?;
        Ok(names.0)
    }

    /// Returns the label sets, without the metric's name, of a family's series that have samples in a span.
    /// Servers use their index for this, so series from shortly before or after the span may be included.
    ///
    /// # Errors
    ///
    /// If the name is not a valid family name, or the server cannot be queried.
    pub async fn series(&self, family: &str, span: Span) -> Result<Vec<BTreeMap<String, String>>, Error> {
        const OPERATION: &str = "list series in Prometheus";
        let failed = |kind| Error::new(OPERATION, kind);
        let selector = self.selector(family).map_err(failed)?;
        // The API includes both ends, and a span excludes its end.
        let (start, end) = (seconds(ceil_ms(span.from)), seconds(ceil_ms(span.to) - 1));
        let parameters = [("match[]", &*selector), ("start", &start), ("end", &end)];
        let answer = self.ask("series", &parameters, &mut 0).await.map_err(failed)?;
        let mut found = answer::label_sets(&answer.body).map_err(|error| {
            failed(ErrorKind::Unreadable {
                host: self.host.clone(),
                why: error.to_string(),
            })
        })?;
        for labels in &mut found {
            labels.remove("__name__");
        }
        Ok(found)
    }

    /// Returns the usual interval between stored samples of a family in the hour that ends at `at`: the
    /// median over the series with the most samples. `None` means that there are too few samples.
    ///
    /// If a scrape honors Temporal Cloud's timestamps (`honor_timestamps: true`, the default), this is a
    /// minute, however often the endpoint is scraped in between, because the same minute is stored once. A
    /// shorter interval means that samples have the time of the scrape, and one minute of usage is stored
    /// many times.
    ///
    /// # Errors
    ///
    /// If the name is not a valid family name, or the server cannot be queried.
    pub async fn scrape_interval(&self, family: &str, at: Timestamp) -> Result<Option<Duration>, Error> {
        const OPERATION: &str = "find the scrape interval in Prometheus";
        let failed = |kind| Error::new(OPERATION, kind);
        let selector = self.selector(family).map_err(failed)?;
        let at_ms = ceil_ms(at);
        let busiest = format!("topk(1, count_over_time({selector}[{LOOK_BACK_MS}ms]))");
        let answer = self
            .query(&busiest, &seconds(at_ms), &mut 0)
            .await
            .map_err(failed)?;
        let Some(series) = self.first_series(&answer).map_err(failed)? else {
            return Ok(None);
        };
        // `range` excludes its end, and a sample at `at` counts.
        let (query, time) = range(&exactly(family, &series.labels), at_ms - LOOK_BACK_MS, at_ms + 1);
        let answer = self.query(&query, &time, &mut 0).await.map_err(failed)?;
        let series = self.first_series(&answer).map_err(failed)?;
        Ok(series.and_then(|series| median_distance(series.times)))
    }

    /// Sends a query that every Prometheus API can answer, and requests the server's version.
    ///
    /// # Errors
    ///
    /// If there is no Prometheus API, or it rejects the credentials. A server that does not report its
    /// version is not an error.
    pub async fn check(&self) -> Result<ServerInfo, Error> {
        const OPERATION: &str = "ask Prometheus";
        let now = seconds(ceil_ms(Timestamp::now()));
        let answer = self
            .query("vector(1)", &now, &mut 0)
            .await
            .map_err(|kind| Error::new(OPERATION, kind))?;
        // A server that answers `success` without a result is not a Prometheus API.
        self.first_series(&answer)
            .map_err(|kind| Error::new(OPERATION, kind))?;
        // Many proxies expose only the query routes.
        let Ok(page) = self.status("buildinfo").await else {
            return Ok(ServerInfo::default());
        };
        Ok(self.server_info(&page.body))
    }

    fn server_info(&self, body: &[u8]) -> ServerInfo {
        #[derive(serde::Deserialize)]
        struct Page {
            data: BuildInfo,
        }
        #[derive(serde::Deserialize)]
        struct BuildInfo {
            #[serde(default)]
            application: Option<String>,
            #[serde(default)]
            version: Option<String>,
        }
        let Ok(page) = serde_json::from_slice::<Page>(body) else {
            return ServerInfo::default();
        };
        let told = |text: Option<String>| {
            text.map(|text| self.cleaned(&text))
                .filter(|text| !text.is_empty())
        };
        ServerInfo {
            application: told(page.data.application),
            version: told(page.data.version),
        }
    }

    fn selector(&self, family: &str) -> Result<String, ErrorKind> {
        if is_family_name(family) {
            Ok(selector(family, None, &self.config.extra_labels))
        } else {
            Err(ErrorKind::Question(format!(
                "`{family}` is not the name of a metric family"
            )))
        }
    }

    fn first_series(&self, answer: &Answer) -> Result<Option<First>, ErrorKind> {
        let unreadable = |why| ErrorKind::Unreadable {
            host: self.host.clone(),
            why,
        };
        if !answer.envelope.has_result {
            return Err(unreadable("it has no result".to_owned()));
        }
        let mut first = FirstOnly(None, 0);
        answer::hand_out(&answer.body, &mut first).map_err(|error| unreadable(error.to_string()))?;
        Ok(first.0)
    }
}

/// The first series of a response.
#[derive(Debug, Default)]
struct First {
    labels: Vec<(String, String)>,
    times: Vec<i64>,
}

/// The names of the series of a response.
#[derive(Debug, Default)]
struct Names(Vec<String>);

impl Sink for Names {
    fn series(&mut self, labels: &LabelSet) -> bool {
        let name = labels.iter().find(|(name, _)| name == "family");
        self.0.extend(name.map(|(_, value)| value.clone()));
        false
    }

    fn sample(&mut self, _: &LabelSet, _: i64, _: f64) {}
}

struct FirstOnly(Option<First>, usize);

impl Sink for FirstOnly {
    fn series(&mut self, labels: &LabelSet) -> bool {
        self.1 += 1;
        if self.1 == 1 {
            self.0 = Some(First {
                labels: labels.to_vec(),
                times: Vec::new(),
            });
        }
        self.1 == 1
    }

    fn sample(&mut self, _: &LabelSet, time_ms: i64, _: f64) {
        if let Some(first) = &mut self.0 {
            first.times.push(time_ms);
        }
    }
}

/// Returns the selector of one series. Label names that the query language does not support are left out.
fn exactly(family: &str, labels: &LabelSet) -> String {
    let mut text = format!("{family}{{");
    for (name, value) in labels.iter().filter(|(name, _)| is_label_name(name)) {
        let _ = write!(text, "{name}={},", quoted(value));
    }
    if text.ends_with(',') {
        text.pop();
    }
    text.push('}');
    text
}

fn median_distance(mut times: Vec<i64>) -> Option<Duration> {
    times.sort_unstable();
    let mut distances: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    distances.sort_unstable();
    let median = distances.get(distances.len().saturating_sub(1) / 2)?;
    u64::try_from(*median).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::one_sample(&[1], None)]
    #[case::two(&[0, 60_000], Some(60_000))]
    #[case::a_gap_does_not_count(&[0, 60_000, 120_000, 900_000], Some(60_000))]
    #[case::unordered(&[120_000, 0, 60_000], Some(60_000))]
    fn the_interval_is_the_usual_distance(#[case] times: &[i64], #[case] expected: Option<u64>) {
        assert_eq!(
            median_distance(times.to_vec()),
            expected.map(Duration::from_millis)
        );
    }

    #[test]
    fn one_series_is_selected_by_all_its_labels() {
        let labels = [
            ("a".to_owned(), "x\"y".to_owned()),
            ("not.a.name".to_owned(), "z".to_owned()),
        ];
        assert_eq!(exactly("f", &labels), r#"f{a="x\"y"}"#);
    }
}
