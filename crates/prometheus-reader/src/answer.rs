//! Parses the body of a response series by series, without building a tree. Pure.
//!
//! A response is visited twice: first by [`inspect`], which reads all of it and keeps only what the
//! server reports about it, then by [`hand_out`]. This way, no samples are taken from a response that turns
//! out to be truncated, refused or malformed.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Maximum number of warnings that are kept per response.
const MOST_REMARKS: usize = 20;
/// A label set of the API, without the metric's name.
pub(crate) type LabelSet = [(String, String)];

/// Receives the samples of a response.
pub(crate) trait Sink {
    /// Begins a series. Returns whether its samples are wanted.
    fn series(&mut self, labels: &LabelSet) -> bool;
    /// Takes a sample of the series, with its time in milliseconds.
    fn sample(&mut self, labels: &LabelSet, time_ms: i64, value: f64);
}

/// Ignores all samples.
#[derive(Debug, Default)]
pub(crate) struct Nothing;

impl Sink for Nothing {
    fn series(&mut self, _: &LabelSet) -> bool {
        true
    }
    fn sample(&mut self, _: &LabelSet, _: i64, _: f64) {}
}

/// The server's metadata for its response.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// `success` or `error`; empty if the response is not from a Prometheus API.
    pub(crate) status: String,
    /// The kind of error.
    pub(crate) error_type: String,
    /// The server's error message.
    pub(crate) error: String,
    /// Warnings that the response may be incomplete or wrong.
    pub(crate) warnings: Vec<String>,
    /// Informational messages.
    pub(crate) infos: Vec<String>,
    /// Set by the cluster version of `VictoriaMetrics` if nodes are missing.
    pub(crate) is_partial: bool,
    /// Whether there was a result to visit.
    pub(crate) has_result: bool,
}

impl Envelope {
    /// Returns whether data may be missing. Warnings of the query language itself concern the query, not the
    /// data.
    pub(crate) fn is_partial(&self) -> bool {
        self.is_partial || self.warnings.iter().any(|warning| !warning.starts_with("PromQL"))
    }
}

/// Reads a complete response.
pub(crate) fn inspect(body: &[u8]) -> Result<Envelope, serde_json::Error> {
    visit(body, &mut Nothing)
}

/// Passes the samples of a response that [`inspect`] has read to `sink`.
pub(crate) fn hand_out(body: &[u8], sink: &mut dyn Sink) -> Result<(), serde_json::Error> {
    visit(body, sink).map(drop)
}

/// Parses the label sets of a response that [`inspect`] has read.
pub(crate) fn label_sets(body: &[u8]) -> Result<Vec<BTreeMap<String, String>>, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Page {
        data: Vec<BTreeMap<String, String>>,
    }
    serde_json::from_slice::<Page>(body).map(|page| page.data)
}

fn visit(body: &[u8], sink: &mut dyn Sink) -> Result<Envelope, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let envelope = json.deserialize_map(EnvelopeVisitor { sink })?;
    // A second document after the first one means that a proxy mixed two responses.
    json.end()?;
    Ok(envelope)
}

struct EnvelopeVisitor<'s> {
    sink: &'s mut dyn Sink,
}

impl<'de> Visitor<'de> for EnvelopeVisitor<'_> {
    type Value = Envelope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a response of the API")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "status" => envelope.status = map.next_value()?,
                "errorType" => envelope.error_type = map.next_value::<Option<String>>()?.unwrap_or_default(),
                "error" => envelope.error = map.next_value::<Option<String>>()?.unwrap_or_default(),
                "warnings" => envelope.warnings = map.next_value_seed(Remarks)?,
                "infos" => envelope.infos = map.next_value_seed(Remarks)?,
                "isPartial" => envelope.is_partial = map.next_value::<Option<bool>>()?.unwrap_or_default(),
                "data" => {
                    envelope.has_result = map.next_value_seed(Data {
                        sink: &mut *self.sink,
                    })?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(envelope)
    }
}

/// Implements [`DeserializeSeed`] with a visitor of the same type, through the given method.
macro_rules! seed {
    ($type:ty, $value:ty, $method:ident) => {
        impl<'de> DeserializeSeed<'de> for $type {
            type Value = $value;
            fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<$value, D::Error> {
                from.$method(self)
            }
        }
    };
}

/// A list of messages, or null.
struct Remarks;
seed!(Remarks, Vec<String>, deserialize_any);

impl<'de> Visitor<'de> for Remarks {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of warnings")
    }

    fn visit_unit<E>(self) -> Result<Vec<String>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
        let mut remarks = Vec::new();
        while let Some(remark) = seq.next_element::<String>()? {
            if remarks.len() < MOST_REMARKS && !remarks.contains(&remark) {
                remarks.push(remark);
            }
        }
        Ok(remarks)
    }
}

/// The data, or null. Returns whether it contained a result.
struct Data<'s> {
    sink: &'s mut dyn Sink,
}
seed!(Data<'_>, bool, deserialize_any);

impl<'de> Visitor<'de> for Data<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the data of a response")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    /// Skips lists of label sets, which [`label_sets`] reads.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut has_result = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == "result" {
                has_result = true;
                map.next_value_seed(SeriesList {
                    sink: &mut *self.sink,
                })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(has_result)
    }
}

struct SeriesList<'s> {
    sink: &'s mut dyn Sink,
}
seed!(SeriesList<'_>, (), deserialize_any);

impl<'de> Visitor<'de> for SeriesList<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of series")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut labels = Vec::new();
        while seq
            .next_element_seed(Series {
                labels: &mut labels,
                sink: &mut *self.sink,
            })?
            .is_some()
        {}
        Ok(())
    }
}

struct Series<'s> {
    labels: &'s mut Vec<(String, String)>,
    sink: &'s mut dyn Sink,
}
seed!(Series<'_>, (), deserialize_map);

impl<'de> Visitor<'de> for Series<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a series")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // Every known server sends labels first, but JSON does not guarantee it: samples that come first are
        // kept until the labels arrive.
        let mut waiting: Vec<(i64, f64)> = Vec::new();
        let mut wanted: Option<bool> = None;
        self.labels.clear();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "metric" => {
                    map.next_value_seed(Labels(self.labels))?;
                    wanted = Some(self.sink.series(self.labels));
                }
                // A range selector returns `values`, an aggregation one `value`.
                "values" | "value" => {
                    let (labels, sink) = (&*self.labels, &mut *self.sink);
                    let mut take = |time, value| match wanted {
                        Some(true) => sink.sample(labels, time, value),
                        Some(false) => {}
                        None => waiting.push((time, value)),
                    };
                    if key == "values" {
                        map.next_value_seed(Points(&mut take))?;
                    } else {
                        let (time, value) = map.next_value_seed(Point)?;
                        take(time, value);
                    }
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if wanted.is_none() {
            return Err(A::Error::custom("a series without its labels"));
        }
        if wanted == Some(true) {
            for (time, value) in waiting {
                self.sink.sample(self.labels, time, value);
            }
        }
        Ok(())
    }
}

struct Labels<'s>(&'s mut Vec<(String, String)>);
seed!(Labels<'_>, (), deserialize_map);

impl<'de> Visitor<'de> for Labels<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the labels of a series")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<String, String>()? {
            // The family is known from the query, and servers drop the name in results of functions.
            if name != "__name__" {
                self.0.push((name, value));
            }
        }
        Ok(())
    }
}

struct Points<'s>(&'s mut dyn FnMut(i64, f64));
seed!(Points<'_>, (), deserialize_any);

impl<'de> Visitor<'de> for Points<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of samples")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some((time, value)) = seq.next_element_seed(Point)? {
            (self.0)(time, value);
        }
        Ok(())
    }
}

/// A time in milliseconds and a value, from `[seconds, "value"]`.
struct Point;
seed!(Point, (i64, f64), deserialize_seq);

impl<'de> Visitor<'de> for Point {
    type Value = (i64, f64);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sample: seconds and a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(i64, f64), A::Error> {
        let (Some(seconds), Some(value)) = (seq.next_element::<f64>()?, seq.next_element_seed(Value)?) else {
            return Err(A::Error::custom("a sample without a timestamp or value"));
        };
        if seq.next_element::<IgnoredAny>()?.is_some() {
            return Err(A::Error::custom("a sample with more than a time and a value"));
        }
        Ok((milliseconds(seconds).map_err(A::Error::custom)?, value))
    }
}

/// Servers store whole milliseconds. Converting them to seconds and back is exact for the next 250,000 years.
fn milliseconds(seconds: f64) -> Result<i64, &'static str> {
    /// The year 9999, the limit of a `Timestamp`.
    const LAST: f64 = 253_402_207_200.0;
    if !(-LAST..=LAST).contains(&seconds) {
        return Err("a sample with an invalid time");
    }
    #[expect(clippy::cast_possible_truncation, reason = "rounded, and bounded above")]
    Ok((seconds * 1_000.0).round() as i64)
}

/// A value, which is a string, because JSON has no NaN and no infinities.
struct Value;
seed!(Value, f64, deserialize_any);

impl Visitor<'_> for Value {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<f64, E> {
        text.parse()
            .map_err(|_| E::custom("a value that is not a number"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    #[expect(clippy::cast_precision_loss, reason = "every value is a double in the end")]
    fn visit_u64<E>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "every value is a double in the end")]
    fn visit_i64<E>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[derive(Debug, Default)]
    struct Taken(Vec<(String, i64, f64)>);

    impl Sink for Taken {
        fn series(&mut self, labels: &LabelSet) -> bool {
            !labels.iter().any(|(_, value)| value == "unwanted")
        }
        fn sample(&mut self, labels: &LabelSet, time_ms: i64, value: f64) {
            let labels: Vec<String> = labels
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            self.0.push((labels.join(","), time_ms, value));
        }
    }

    fn taken(body: &str) -> Vec<(String, i64, f64)> {
        let mut taken = Taken::default();
        hand_out(body.as_bytes(), &mut taken).expect("a response");
        taken.0
    }

    #[test]
    fn samples_come_with_their_labels_times_and_values() {
        let body = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"x","n":"a"},"values":[[1700000000.123,"1.5e3"],[1700000060,"+Inf"]]},
            {"metric":{"n":"unwanted"},"values":[[1,"1"]]},
            {"values":[[2,"-Inf"]],"histograms":[[1,{}]],"metric":{"n":"late"}}]}}"#;
        assert_eq!(
            taken(body),
            [
                ("n=a".to_owned(), 1_700_000_000_123, 1_500.0),
                ("n=a".to_owned(), 1_700_000_060_000, f64::INFINITY),
                ("n=late".to_owned(), 2_000, f64::NEG_INFINITY),
            ]
        );
    }

    #[test]
    fn nan_is_passed_on_unchanged() {
        let samples = taken(r#"{"status":"success","data":{"result":[{"metric":{},"value":[1,"NaN"]}]}}"#);
        assert!(samples.len() == 1 && samples[0].2.is_nan());
    }

    #[rstest]
    #[case::nothing_said(r#"{"status":"success","data":{"result":[]}}"#, false)]
    #[case::warned(
        r#"{"status":"success","data":{"result":[]},"warnings":["store x is away"]}"#,
        true
    )]
    #[case::remark_on_the_query(
        r#"{"status":"success","data":{"result":[]},"warnings":["PromQL warning: odd"]}"#,
        false
    )]
    #[case::only_informed(
        r#"{"status":"success","infos":["PromQL info: odd"],"data":{"result":null}}"#,
        false
    )]
    #[case::node_missing(r#"{"status":"success","isPartial":true,"data":{"result":[]}}"#, true)]
    fn a_partial_response_is_detected(#[case] body: &str, #[case] expected: bool) {
        let envelope = inspect(body.as_bytes()).expect("a response");
        assert_eq!(envelope.is_partial(), expected);
        assert!(envelope.has_result);
    }

    #[test]
    fn an_error_is_parsed_with_its_kind() {
        let body = r#"{"status":"error","errorType":"bad_data","error":"parse error","data":null}"#;
        let envelope = inspect(body.as_bytes()).expect("a response");
        assert_eq!(
            (
                envelope.status.as_str(),
                envelope.error_type.as_str(),
                envelope.error.as_str()
            ),
            ("error", "bad_data", "parse error")
        );
        assert!(!envelope.has_result);
    }

    #[rstest]
    #[case::value_is_no_number(r#"{"data":{"result":[{"metric":{},"values":[[1,"x"]]}]}}"#)]
    #[case::no_time(r#"{"data":{"result":[{"metric":{},"values":[[1e300,"1"]]}]}}"#)]
    #[case::half_a_sample(r#"{"data":{"result":[{"metric":{},"values":[[1]]}]}}"#)]
    #[case::no_labels(r#"{"data":{"result":[{"values":[[1,"1"]]}]}}"#)]
    #[case::more_behind_the_end("{} {}")]
    #[case::no_object("[]")]
    fn anything_other_than_a_response_is_an_error(#[case] body: &str) {
        assert!(inspect(body.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn a_truncated_response_is_never_mistaken_for_a_complete_one(at in 0_usize..150) {
            let body = br#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[1,"1"],[2,"2"]]}]}}"#;
            prop_assume!(at < body.len());
            prop_assert!(inspect(&body[..at]).is_err_and(|error| error.is_eof()));
        }

        #[test]
        fn milliseconds_survive_the_way_through_seconds(ms in -250_000_000_000_000_i64..250_000_000_000_000) {
            let text = crate::selector::seconds(ms);
            prop_assert_eq!(milliseconds(text.parse().expect("a number")), Ok(ms));
        }
    }
}
