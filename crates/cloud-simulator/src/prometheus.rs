//! A Prometheus API over the minutes of the last hour, as if it had always scraped the metrics endpoint.
//!
//! It supports queries for raw samples (`family{...}[3600000ms]`), the number of series and the busiest
//! series, and lists the series of a selector. It rejects anything else, like a real server that cannot parse
//! a query.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::clock::start_of;
use crate::cloud::Cloud;
use crate::faults::ScrapeJobFault;
use crate::metrics::{self, Filter};

/// Values of one series, by time in milliseconds.
type Samples = BTreeMap<i64, String>;

/// A request to which Prometheus responds with `bad_data`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadData {
    #[error("invalid time `{0}`")]
    Time(String),
    #[error("unsupported query `{0}`")]
    Query(String),
    #[error("invalid parameter \"{name}\": cannot parse \"{text}\"")]
    Parameter { name: &'static str, text: String },
    #[error("invalid parameter \"end\": end timestamp must not be before start time")]
    EndBeforeStart,
    #[error("no match[] parameter provided")]
    NoSelector,
    #[error("invalid parameter \"match[]\": unsupported selector `{0}`")]
    Selector(String),
}

/// Answers an instant query.
pub(crate) fn query(
    cloud: &Cloud,
    now: Timestamp,
    query: &str,
    time: Option<&str>,
) -> Result<Value, BadData> {
    let at = match time {
        None => now.as_millisecond(),
        Some(text) => milliseconds(text).ok_or_else(|| BadData::Time(text.to_owned()))?,
    };
    if query == "vector(1)" {
        return Ok(vector(&[(&Map::new(), "1".to_owned())], at));
    }
    let unsupported = || BadData::Query(query.to_owned());
    let inside = |start: &str, end: &str| query.strip_prefix(start)?.strip_suffix(end);
    if let Some(range) = inside("count(count_over_time(", "))") {
        let series = Selector::parse(range)
            .ok_or_else(unsupported)?
            .read(cloud, now, at);
        let counted = (!series.is_empty()).then(|| (Map::new(), series.len().to_string()));
        let counted: Vec<_> = counted
            .iter()
            .map(|(labels, count)| (labels, count.clone()))
            .collect();
        return Ok(vector(&counted, at));
    }
    if let Some(regex) = inside(
        "group by (family) (label_replace({__name__=~\"",
        "\"} offset 3m, \"family\", \"$1\", \"__name__\", \"(.*)\"))",
    ) {
        let (prefix, word) = regex.split_once(".*").ok_or_else(unsupported)?;
        let word = word.strip_suffix(".*").ok_or_else(unsupported)?;
        let named = metrics::family_names(&cloud.faults)
            .into_iter()
            .map(|(name, _)| name);
        let found = named.filter(|name| name.strip_prefix(prefix).is_some_and(|rest| rest.contains(word)));
        let found: Vec<Map<String, Value>> = found
            .map(|name| Map::from_iter([("family".to_owned(), json!(name))]))
            .collect();
        let found: Vec<_> = found.iter().map(|labels| (labels, "1".to_owned())).collect();
        return Ok(vector(&found, at));
    }
    if let Some(range) = inside("topk(1, count_over_time(", "))") {
        let series = Selector::parse(range)
            .ok_or_else(unsupported)?
            .read(cloud, now, at);
        let busiest = series.iter().max_by_key(|(_, samples)| samples.len());
        let busiest: Vec<_> = busiest
            .map(|(labels, samples)| (labels, samples.len().to_string()))
            .into_iter()
            .collect();
        return Ok(vector(&busiest, at));
    }
    let selector = Selector::parse(query).ok_or_else(unsupported)?;
    let result: Vec<Value> = selector
        .read(cloud, now, at)
        .into_iter()
        .map(|(mut labels, samples)| {
            labels.insert("__name__".to_owned(), json!(selector.family));
            let values: Vec<Value> = samples
                .into_iter()
                .map(|(time, value)| json!([seconds(time), value]))
                .collect();
            json!({ "metric": labels, "values": values })
        })
        .collect();
    Ok(json!({ "status": "success", "data": { "resultType": "matrix", "result": result } }))
}

/// Lists the label sets of the series with samples in a time range, both ends inclusive.
pub(crate) fn series(
    cloud: &Cloud,
    now: Timestamp,
    selectors: &[&str],
    (start, end): (Option<&str>, Option<&str>),
) -> Result<Value, BadData> {
    let time = |name: &'static str, text: Option<&str>| {
        let read = |text: &str| {
            milliseconds(text).ok_or_else(|| BadData::Parameter {
                name,
                text: text.to_owned(),
            })
        };
        text.map(read).transpose()
    };
    let (start, end) = (time("start", start)?, time("end", end)?);
    let end = end.unwrap_or_else(|| now.as_millisecond());
    // Half, so that the difference between them cannot overflow.
    let start = start.unwrap_or(i64::MIN / 2);
    if end < start {
        return Err(BadData::EndBeforeStart);
    }
    if selectors.is_empty() {
        return Err(BadData::NoSelector);
    }
    let mut found: BTreeMap<String, Value> = BTreeMap::new();
    for text in selectors {
        let refused = || BadData::Selector((*text).to_owned());
        let selector =
            // One millisecond more, because ranges of queries exclude their beginning and this API includes
            // it.
            Selector::parse_over(text, end.saturating_sub(start).saturating_add(1)).ok_or_else(refused)?;
        for (mut labels, _) in selector.read(cloud, now, end) {
            labels.insert("__name__".to_owned(), json!(selector.family));
            let labels = Value::Object(labels);
            found.insert(labels.to_string(), labels);
        }
    }
    let data: Vec<Value> = found.into_values().collect();
    Ok(json!({ "status": "success", "data": data }))
}

fn vector(series: &[(&Map<String, Value>, String)], at: i64) -> Value {
    let result: Vec<Value> = series
        .iter()
        .map(|(labels, value)| json!({ "metric": labels, "value": [seconds(at), value] }))
        .collect();
    json!({ "status": "success", "data": { "resultType": "vector", "result": result } })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit into 53 bits"
)]
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1_000.0
}

/// Parses a time in seconds, exact to the millisecond.
fn milliseconds(text: &str) -> Option<i64> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    let rest = format!("{rest:0<3}");
    let whole: i64 = whole.parse().ok()?;
    let rest: i64 = rest.get(..3)?.parse().ok()?;
    whole.checked_mul(1_000)?.checked_add(rest)
}

/// A selector such as `family{label="value",label=~"a|b"}[60000ms]`.
#[derive(Debug)]
struct Selector {
    family: String,
    /// Labels with their allowed values.
    matchers: Vec<(String, Vec<String>)>,
    /// Range of the selector, in milliseconds.
    range: i64,
}

impl Selector {
    fn parse(text: &str) -> Option<Self> {
        let (selector, range) = text.strip_suffix("ms]")?.rsplit_once('[')?;
        Self::parse_over(selector, range.parse().ok()?).filter(|_| selector.ends_with('}'))
    }

    /// Parses a selector without a range: `family` or `family{label="value"}`.
    fn parse_over(text: &str, range: i64) -> Option<Self> {
        let is_name = |name: &str| {
            let rest = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            name.starts_with(|c: char| rest(c) && !c.is_ascii_digit()) && name.chars().all(rest)
        };
        let (family, mut left) = match text.find('{') {
            Some(at) => (&text[..at], &text[at + 1..]),
            None => (text, "}"),
        };
        if !is_name(family) {
            return None;
        }
        let mut matchers = Vec::new();
        while left != "}" {
            let (label, rest) = left.split_once('=')?;
            let (is_regex, rest) = rest.strip_prefix('~').map_or((false, rest), |rest| (true, rest));
            let (value, rest) = quoted(rest)?;
            let values = if is_regex {
                alternatives(&value)?
            } else {
                vec![value]
            };
            matchers.push((label.to_owned(), values));
            left = rest.strip_prefix(',').unwrap_or(rest);
        }
        Some(Self {
            family: family.to_owned(),
            matchers,
            range,
        })
    }

    /// Returns the series with samples in the range that ends at a time: labels, and values by time.
    fn read(&self, cloud: &Cloud, now: Timestamp, at: i64) -> Vec<(Map<String, Value>, Samples)> {
        let filter = Filter {
            metrics: vec![self.family.clone()],
            namespaces: Vec::new(),
        };
        let newest = metrics::newest_minute(cloud, now);
        let oldest = cloud
            .namespaces
            .iter()
            .filter_map(|it| it.minutes.front())
            .map(|it| it.at)
            .min();
        let mut series: BTreeMap<String, Samples> = BTreeMap::new();
        for minute in oldest.unwrap_or(newest)..=newest {
            let time = start_of(minute).as_millisecond() + late(cloud);
            // A query may reach into the future, but samples that were not scraped yet are not stored.
            // The beginning is excluded, as in Prometheus 3.
            if time > at.min(now.as_millisecond()) || time <= at.saturating_sub(self.range) {
                continue;
            }
            let document = metrics::document_of(cloud, minute, &filter);
            for line in document.text.lines().filter(|line| !line.starts_with('#')) {
                if let Some((labels, value)) = sample(line) {
                    let samples = series.entry(labels.to_owned()).or_default();
                    samples.insert(time, value.to_owned());
                }
            }
        }
        let labeled = series
            .into_iter()
            .filter_map(|(text, samples)| Some((labels(&text)?, samples)));
        let stored = labeled.flat_map(|(labels, samples)| as_stored(cloud, labels, samples));
        stored.filter(|(labels, _)| self.matches(labels)).collect()
    }

    fn matches(&self, labels: &Map<String, Value>) -> bool {
        self.matchers.iter().all(|(name, values)| {
            // In Prometheus, an absent label equals an empty one.
            let value = labels.get(name).and_then(Value::as_str).unwrap_or_default();
            values.iter().any(|it| it == value)
        })
    }
}

/// Returns the delay between a minute and the timestamp of its stored sample, in milliseconds.
fn late(cloud: &Cloud) -> i64 {
    match cloud.faults.scrape_job {
        // Shown three minutes after its end, and scraped at some second of a minute.
        ScrapeJobFault::ScrapeTimes => (4 * 60 + 23) * 1_000,
        _ => 0,
    }
}

/// Returns a series as the scrape job stores it.
fn as_stored(
    cloud: &Cloud,
    labels: Map<String, Value>,
    samples: Samples,
) -> Vec<(Map<String, Value>, Samples)> {
    let with = |more: &[(&str, &str)]| {
        let mut labels = labels.clone();
        for (name, value) in more {
            labels.insert((*name).to_owned(), json!(value));
        }
        (labels, samples.clone())
    };
    match cloud.faults.scrape_job {
        ScrapeJobFault::TwoPods => ["agent-0", "agent-1"]
            .map(|pod| with(&[("pod", pod), ("cluster", "eu"), ("job", "temporal")]))
            .into(),
        ScrapeJobFault::OverwrittenNamespace => {
            let own = labels
                .get("temporal_namespace")
                .and_then(Value::as_str)
                .unwrap_or_default();
            vec![with(&[
                ("exported_temporal_namespace", own),
                ("temporal_namespace", "monitoring"),
            ])]
        }
        ScrapeJobFault::None | ScrapeJobFault::ScrapeTimes | ScrapeJobFault::GetOnly(_) => {
            vec![(labels, samples)]
        }
    }
}

/// Splits a sample line into its labels and its value.
fn sample(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once('{')?;
    let (labels, rest) = rest.rsplit_once("} ")?;
    Some((labels, rest.split(' ').next()?))
}

/// Parses `a="x",b="y"`.
fn labels(text: &str) -> Option<Map<String, Value>> {
    let mut labels = Map::new();
    let mut left = text;
    while !left.is_empty() {
        let (name, rest) = left.split_once('=')?;
        let (value, rest) = quoted(rest)?;
        labels.insert(name.to_owned(), Value::String(value));
        left = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(labels)
}

/// Parses a quoted string, and returns the rest.
fn quoted(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

/// Parses the alternatives of a regular expression that contains only literals, such as `pay|pay\.a1b2c`.
fn alternatives(regex: &str) -> Option<Vec<String>> {
    let mut all = vec![String::new()];
    let mut characters = regex.chars();
    while let Some(character) = characters.next() {
        match character {
            '|' => all.push(String::new()),
            '\\' => all.last_mut()?.push(characters.next()?),
            '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
            other => all.last_mut()?.push(other),
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Account, SimulatorOptions};

    fn cloud() -> Cloud {
        let mut options = SimulatorOptions::new(Account::demo());
        options.speed = 0.0;
        options.past_minutes = 75;
        Cloud::new(options)
    }

    #[test]
    fn the_past_hour_is_stored_minute_by_minute() {
        let mut cloud = cloud();
        let now = cloud.now();
        let name = cloud.namespaces[0].id.clone();
        let escaped = name.replace('.', "\\\\.");
        let text =
            format!("temporal_cloud_v1_action_limit{{temporal_namespace=~\"other|{escaped}\"}}[3600000ms]");
        let time = now.as_millisecond();
        let answer = query(
            &cloud,
            now,
            &text,
            Some(&format!("{}.{:03}", time / 1_000, time % 1_000)),
        );
        let answer = answer.expect("answered");
        let result = answer["data"]["result"].as_array().expect("series");
        assert_eq!(result.len(), 1, "one namespace, one series");
        assert_eq!(result[0]["metric"]["temporal_namespace"], name);
        let times: Vec<f64> = result[0]["values"]
            .as_array()
            .expect("values")
            .iter()
            .filter_map(|value| value[0].as_f64())
            .collect();
        assert!(times.len() >= 56, "{}", times.len());
        assert!(
            times
                .windows(2)
                .all(|pair| (pair[1] - pair[0] - 60.0).abs() < 1e-6)
        );
    }

    #[test]
    fn series_are_listed_over_a_range_with_both_its_ends() {
        let mut cloud = cloud();
        let now = cloud.now();
        let newest = start_of(metrics::newest_minute(&cloud, now)).as_second();
        let listed = |selector: &str, start: i64, end: i64| {
            let (start, end) = (start.to_string(), end.to_string());
            let answer = series(&cloud, now, &[selector], (Some(&start), Some(&end)));
            let mut answer = answer.expect("answered");
            assert_eq!(answer["status"], "success");
            serde_json::from_value::<Vec<BTreeMap<String, String>>>(answer["data"].take())
                .expect("label sets")
        };
        let family = "temporal_cloud_v1_action_limit";
        let all = listed(family, newest, newest);
        assert_eq!(all.len(), cloud.namespaces.len());
        assert!(
            all.iter()
                .all(|labels| labels["__name__"] == family && labels.contains_key("region"))
        );
        let one = format!("{family}{{temporal_namespace=\"orders.a1b2c\"}}");
        assert_eq!(
            listed(&one, newest - 600, newest).len(),
            1,
            "a series is listed once"
        );
        assert_eq!(listed(&one, newest + 1, newest + 59).len(), 0);
        assert_eq!(listed("unheard_of", newest, newest).len(), 0);
        for (selectors, start, end) in [
            (&[][..], "0", "1"),
            (&["{a=\"b\"}"][..], "0", "1"),
            (&[family][..], "1", "0"),
            (&[family][..], "yesterday", "1"),
        ] {
            assert!(
                series(&cloud, now, selectors, (Some(start), Some(end))).is_err(),
                "{selectors:?}"
            );
        }
        assert!(
            series(&cloud, now, &[family], (None, None)).is_ok(),
            "start and end are optional"
        );
    }

    #[test]
    fn unsupported_queries_are_refused() {
        let mut cloud = cloud();
        let now = cloud.now();
        for text in ["rate(x{}[5m])", "x", "x{a=~\".*\"}[60000ms]", ""] {
            assert!(query(&cloud, now, text, None).is_err(), "{text}");
        }
    }
}
