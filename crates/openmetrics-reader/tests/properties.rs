//! Properties of every document: no panic, the same result for every split, and a round trip.

use std::fmt::Write as _;

use openmetrics_reader::{ChunkedReader, Error, Event, Limits, Mode, OnUnreadable, Options, Reader, Summary};
use proptest::prelude::*;

/// Documents that have broken parsers before: every kind of line, and every place where a split can go wrong.
const NASTY: [&[u8]; 12] = [
    b"# TYPE a counter\n# HELP a h\\n\\\\\\\"\na_total{b=\"c\\\"\\\\\",d=\"\\n\"} 1 2 # {e=\"f\"} 3 4\n# EOF\n",
    b"a{b=\"1\"} 1 1\na{b=\"2\"} 2 2\na{b=\"\\\\\"} 3 3\na{b=\"} # \"} 4 4\n# EOF",
    b"# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 2\na_count 2\na_sum 3\n# EOF\n",
    b"\r\n \t\r\n a { b = \"c\" , } 1 \r\n#comment\n# EOF\r\n\r\n",
    b"{\"\xc3\xa4.b\",\"c d\"=\"\xe2\x82\xac\"} +Inf\n# EOF\n",
    b"a{b=\"\xf0\x9f\xa6\x80\"} 1\na{b=\"\xff\"} 1\n",
    b"a 1\n# EOF\na 1\n# EOF\n",
    b"Jwt is missing",
    b"<html>\n<body>503</body>\n</html>\n",
    b"a 1\nb{c=\"d",
    b"a 1\na very long line that a small limit does not let pass 1\nb 1\n",
    b"",
];

#[derive(Debug, PartialEq)]
struct Outcome {
    events: Vec<String>,
    summary: Summary,
    error: Option<Error>,
}

fn whole(document: &[u8], options: Options) -> Outcome {
    let mut reader = Reader::new(document, options);
    let (mut events, mut error) = (Vec::new(), None);
    for event in &mut reader {
        match event {
            Ok(event) => events.push(format!("{event:?}")),
            Err(reason) => error = Some(reason),
        }
    }
    Outcome {
        events,
        summary: reader.summary().clone(),
        error,
    }
}

/// Reads in chunks, and stops at the first error, as a caller would.
fn in_chunks<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, options: Options) -> Outcome {
    let mut events = Vec::new();
    let mut keep = |event: Event<'_>| events.push(format!("{event:?}"));
    let mut reader = ChunkedReader::new(options);
    for chunk in chunks {
        if let Err(error) = reader.push(chunk, &mut keep) {
            let summary = reader.summary().clone();
            assert_eq!(
                reader.push(b"a 1\n", &mut keep).err().as_ref(),
                Some(&error),
                "an error stays"
            );
            return Outcome {
                events,
                summary,
                error: Some(error),
            };
        }
    }
    let before_end = reader.summary().clone();
    match reader.finish(&mut keep) {
        Ok(summary) => Outcome {
            events,
            summary,
            error: None,
        },
        Err(error) => Outcome {
            events,
            summary: before_end,
            error: Some(error),
        },
    }
}

/// The summary of a reader that fails at the very end is not available, so only the summary of a success is
/// compared.
fn assert_same(whole: &Outcome, chunked: &Outcome) {
    assert_eq!(whole.events, chunked.events);
    assert_eq!(whole.error, chunked.error);
    if whole.error.is_none() {
        assert_eq!(whole.summary, chunked.summary);
    }
}

fn all_options() -> impl Iterator<Item = Options> {
    let small = Limits {
        max_line_bytes: 20,
        max_labels: 1,
        max_document_bytes: 50,
    };
    [Mode::Strict, Mode::Lenient].into_iter().flat_map(move |mode| {
        [OnUnreadable::Error, OnUnreadable::Skip]
            .into_iter()
            .flat_map(move |on_unreadable| {
                [Limits::default(), small].into_iter().map(move |limits| Options {
                    mode,
                    on_unreadable,
                    limits,
                })
            })
    })
}

#[test]
fn splits_at_every_byte_change_nothing() {
    for options in all_options() {
        for document in NASTY {
            let expected = whole(document, options);
            for at in 0..=document.len() {
                assert_same(&expected, &in_chunks([&document[..at], &document[at..]], options));
            }
            assert_same(&expected, &in_chunks(document.chunks(1), options));
        }
    }
}

/// Bytes mostly from the format's alphabet, so that many lines are nearly valid.
fn scraps() -> impl Strategy<Value = Vec<u8>> {
    let scrap = prop_oneof![
        8 => prop::sample::select(vec![
            "a", "b_total", "{", "}", "=", "\"", ",", " ", "\t", "\n", "\r", "#", "# ", "TYPE ", "HELP ", "UNIT ", "EOF", "1", "-2.5",
            "1e3", "NaN", "+Inf", "\\", "\\n", "le", "counter", "gauge", "histogram", "a 1\n", "b{c=\"d\"} 1 2\n", "b{c=\"e\"} 3 4\n",
            "# EOF\n", "é", "a_bucket{le=\"+Inf\"} 1\n", " # {} 1",
        ]).prop_map(|scrap| scrap.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(scrap, 0..40).prop_map(|scraps| scraps.concat())
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9.-]{0,20}",
        prop::collection::vec(
            prop_oneof![Just('\\'), Just('"'), Just('\n'), Just('n'), any::<char>()],
            0..12
        )
        .prop_map(|characters| characters.into_iter().collect()),
    ]
}

#[derive(Debug, Clone)]
struct Point {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
    timestamp: Option<i32>,
}

fn point() -> impl Strategy<Value = Point> {
    let labels = prop::collection::btree_map("[a-zA-Z_][a-zA-Z0-9_]{0,9}", text(), 0..6);
    (
        "[a-zA-Z_:][a-zA-Z0-9_:]{0,30}",
        labels,
        any::<f64>(),
        any::<Option<i32>>(),
    )
        .prop_map(|(name, labels, value, timestamp)| Point {
            name,
            labels: labels.into_iter().collect(),
            value,
            timestamp,
        })
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('"', "\\\"")
}

fn write(points: &[Point]) -> String {
    let mut document = String::new();
    for Point {
        name,
        labels,
        value,
        timestamp,
    } in points
    {
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
            .collect();
        let timestamp = timestamp.map_or(String::new(), |timestamp| format!(" {timestamp}"));
        let _ = writeln!(document, "{name}{{{}}} {value:?}{timestamp}", labels.join(","));
    }
    document + "# EOF\n"
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(document in prop_oneof![prop::collection::vec(any::<u8>(), 0..300), scraps()]) {
        for options in all_options() {
            for event in Reader::new(&document, options).flatten() {
                if let Event::Sample(sample) = event {
                    let _ = (sample.timestamp_ms(), sample.exemplar(), sample.label("a"));
                    let labels = sample.labels().map(|label| label.value.unescaped().len()).sum::<usize>();
                    prop_assert!(labels <= document.len());
                }
            }
        }
    }

    #[test]
    fn chunks_give_the_events_of_the_whole(document in scraps(), size in 1_usize..50) {
        for options in all_options() {
            assert_same(&whole(&document, options), &in_chunks(document.chunks(size), options));
        }
    }

    #[test]
    fn a_line_means_the_same_regardless_of_earlier_lines(document in scraps()) {
        let options = Options { on_unreadable: OnUnreadable::Skip, ..Options::lenient() };
        let lines: Vec<_> = document.split(|&byte| byte == b'\n').filter(|line| !line.windows(3).any(|part| part == b"EOF")).collect();
        let together: Vec<_> = whole(&[lines.join(&b'\n'), b"\n".to_vec()].concat(), options).events;
        let apart: Vec<_> = lines.iter().flat_map(|line| whole(&[line, &b"\n"[..]].concat(), options).events).collect();
        prop_assert_eq!(together, apart);
    }

    #[test]
    fn written_samples_are_read_back_unchanged(points in prop::collection::vec(point(), 0..8), repeats in 1_usize..4) {
        // Repeated lines have the shape of the previous line.
        let points: Vec<_> = points.iter().flat_map(|point| std::iter::repeat_n(point, repeats)).cloned().collect();
        let document = write(&points);
        let samples: Vec<_> = Reader::new(document.as_bytes(), Options::lenient())
            .filter_map(|event| match event.expect("a sound document") { Event::Sample(sample) => Some(sample), _ => None })
            .collect();
        prop_assert_eq!(samples.len(), points.len());
        for (sample, point) in samples.iter().zip(&points) {
            prop_assert_eq!(sample.name().raw(), &point.name);
            let labels: Vec<_> = sample.labels().map(|label| (label.name.to_string(), label.value.to_string())).collect();
            prop_assert_eq!(&labels, &point.labels);
            prop_assert!(sample.value().to_bits() == point.value.to_bits() || (sample.value().is_nan() && point.value.is_nan()));
            let timestamp = point.timestamp.map(|timestamp| timestamp.to_string());
            prop_assert_eq!(sample.timestamp_text(), timestamp.as_deref());
        }
    }

    #[test]
    fn lenient_mode_reads_what_strict_mode_accepts_in_the_same_way(document in scraps()) {
        let strict = whole(&document, Options::strict());
        if strict.error.is_none() {
            prop_assert_eq!(strict, whole(&document, Options::lenient()));
        }
    }
}
