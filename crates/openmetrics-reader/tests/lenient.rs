//! Tests of what lenient mode accepts and rejects.

use openmetrics_reader::{ErrorKind, Event, Kind, Limits, OnUnreadable, Options, Reader, Summary};
use rstest::rstest;

/// Renders a document's events, one per line, followed by its error.
fn read(document: impl AsRef<[u8]>) -> Vec<String> {
    Reader::new(document.as_ref(), Options::lenient())
        .map(|event| event.map_or_else(|error| format!("error: {error}"), render))
        .collect()
}

fn render(event: Event<'_>) -> String {
    match event {
        Event::Type { family, kind } => format!("type {family} {kind}"),
        Event::Help { family, help } => format!("help {family} {help:?}", help = help.unescaped()),
        Event::Unit { family, unit } => format!("unit {family} {unit:?}"),
        Event::Comment(comment) => format!("comment {comment:?}"),
        Event::Sample(sample) => {
            let labels: Vec<_> = sample
                .labels()
                .map(|label| format!("{}={}", label.name, label.value))
                .collect();
            let exemplar = sample.exemplar().map_or(String::new(), |exemplar| {
                let labels: Vec<_> = exemplar
                    .labels()
                    .map(|label| format!("{}={}", label.name, label.value))
                    .collect();
                format!(
                    " exemplar [{}] {} {}",
                    labels.join(","),
                    exemplar.value(),
                    exemplar.timestamp_text().unwrap_or("-")
                )
            });
            format!(
                "{} [{}] {} {}{exemplar}",
                sample.name(),
                labels.join(","),
                sample.value(),
                sample.timestamp_text().unwrap_or("-")
            )
        }
        Event::End => "end".to_owned(),
        _ => unreachable!("an event that this test does not know"),
    }
}

fn kind_of_error(document: &[u8], options: Options) -> Option<ErrorKind> {
    Reader::new(document, options)
        .find_map(Result::err)
        .map(|error| error.kind())
}

fn summary(document: &[u8], options: Options) -> Summary {
    let mut reader = Reader::new(document, options);
    assert_eq!(reader.find_map(Result::err), None);
    reader.summary().clone()
}

#[test]
fn the_shape_that_temporal_documents_is_read() {
    let document = "# TYPE temporal_cloud_v1_action_limit gauge\n\
        # HELP temporal_cloud_v1_action_limit The limit.\n\
        temporal_cloud_v1_action_limit{temporal_namespace=\"orders\", region=\"aws-us-east-1\"} 1000.0 1609459200000\n";
    assert_eq!(
        read(document),
        [
            "type temporal_cloud_v1_action_limit gauge",
            "help temporal_cloud_v1_action_limit \"The limit.\"",
            "temporal_cloud_v1_action_limit [temporal_namespace=orders,region=aws-us-east-1] 1000 1609459200000",
        ]
    );
}

#[rstest]
#[case::plain("a 1", "a [] 1 -")]
#[case::empty_braces("a{} 1", "a [] 1 -")]
#[case::blanks_and_tabs("\t a \t{ b = \"c\" ,\td=\"e\" }  1 \t 2  ", "a [b=c,d=e] 1 2")]
#[case::trailing_comma("a{b=\"c\",} 1", "a [b=c] 1 -")]
#[case::trailing_comma_and_blank("a{b=\"c\" , } 1", "a [b=c] 1 -")]
#[case::carriage_return("a 1\r", "a [] 1 -")]
#[case::carriage_return_after_timestamp("a{b=\"c\"} 1 2\r", "a [b=c] 1 2")]
#[case::escapes("a{b=\"1\\\\2\\\"3\\n4\\5\"} 1", "a [b=1\\2\"3\n4\\5] 1 -")]
#[case::quoted_metric_name("{\"a.b\"} 1", "a.b [] 1 -")]
#[case::quoted_metric_name_before_labels("{\"a.b\",c=\"d\"} 1", "a.b [c=d] 1 -")]
#[case::quoted_metric_name_among_labels("{c=\"d\", \"ä b\" ,e=\"f\"} 1", "ä b [c=d,e=f] 1 -")]
#[case::quoted_label_name("a{\"b.c\"=\"d\"} 1", "a [b.c=d] 1 -")]
#[case::quoted_label_name_with_equals_sign("a{\"=\\\"=\"=\"d\"} 1", "a [=\"==d] 1 -")]
#[case::braces_and_marks_in_values("a{b=\"} # {,=\"} 1", "a [b=} # {,=] 1 -")]
#[case::exponent("a 1.5e3", "a [] 1500 -")]
#[case::signs("a -1 -2", "a [] -1 -2")]
#[case::plus("a +1", "a [] 1 -")]
#[case::infinity("a +Inf", "a [] inf -")]
#[case::negative_infinity("a -Inf", "a [] -inf -")]
#[case::not_a_number("a NaN", "a [] NaN -")]
#[case::empty_label_value("a{b=\"\"} 1", "a [b=] 1 -")]
#[case::exemplar("a 1 # {b=\"c\"} 2 3", "a [] 1 - exemplar [b=c] 2 3")]
#[case::exemplar_after_timestamp("a 1 9\t# { b=\"c\", }  2", "a [] 1 9 exemplar [b=c] 2 -")]
#[case::type_line("#  TYPE\ta   counter ", "type a counter")]
#[case::untyped("# TYPE a untyped", "type a unknown")]
#[case::quoted_family("# TYPE \"a.b\" gauge", "type a.b gauge")]
#[case::help_without_text("# HELP a", "help a \"\"")]
#[case::help_with_escapes("# HELP a b\\nc\\d", "help a \"b\\nc\\\\d\"")]
#[case::help_with_carriage_return("# HELP a b\r", "help a \"b\"")]
#[case::unit("# UNIT a_s s", "unit a_s \"s\"")]
#[case::empty_unit("# UNIT a", "unit a \"\"")]
#[case::comment("# anything at all", "comment \" anything at all\"")]
#[case::comment_without_blank("#a_sum 0", "comment \"a_sum 0\"")]
#[case::keyword_without_blank("#TYPE a gauge", "comment \"TYPE a gauge\"")]
fn a_line_is_read(#[case] line: &str, #[case] event: &str) {
    // The first line makes sure that the document is not only a comment; the last one shows that reading
    // continues.
    assert_eq!(
        read(format!("first 0\n{line}\nlast 0\n")),
        ["first [] 0 -", event, "last [] 0 -"]
    );
}

#[rstest]
fn a_line_is_refused(
    #[values(
        "a",
        "a ",
        "a{} ",
        "1a 1",
        "a.b 1",
        "a b",
        "a 1_0",
        "a 0x1",
        "a 1e999",
        "a 1 2 3",
        "a 1 NaN",
        "a 1 Inf",
        "a 1 2z",
        "a1{b=\"c\"}1",
        "a{b} 1",
        "a{b=} 1",
        "a{b=c} 1",
        "a{b='c'} 1",
        "a{b=\"c} 1",
        "a{b=\"c\"d=\"e\"} 1",
        "a{b=\"c\",,} 1",
        "a{,} 1",
        "a{=\"c\"} 1",
        "a{1=\"c\"} 1",
        "a{b:c=\"d\"} 1",
        "a{b=\"c\" 1",
        "a}b=\"c\"{ 1",
        "a{b=\"c\",b=\"d\"} 1",
        "a{b=\"c\",\"b\"=\"d\"} 1",
        "a{\"\\\\z\"=\"1\",\"\\z\"=\"2\"} 1",
        "{} 1",
        "{b=\"c\"} 1",
        "{\"a\",\"b\"} 1",
        "a{\"b\"} 1",
        "{\"\"} 1",
        "a{\"\"=\"b\"} 1",
        "a 1 # comment",
        "a 1 #",
        "a 1 # {} ",
        "a 1 # {}",
        "a 1 # {\"b\"} 1",
        "a 1# {} 1",
        "a 1 # {} 1 2 3",
        "a 1 # {} NaN NaN",
        "a\r 1",
        "# TYPE",
        "# TYPE a",
        "# TYPE a meh",
        "# TYPE a gauge gauge",
        "# TYPE a.b gauge",
        "# HELP",
        "# HELP a.b c",
        "# UNIT",
        "# UNIT a b c",
        "# EOF now",
        "<html>",
        "{\"code\":16}",
        "\u{feff}a 1",
        "a{b=\"c\"} 1 2 # {}",
        "é 1"
    )]
    line: &str,
) {
    let document = format!("first 0\n{line}\nlast 0\n");
    let kind = kind_of_error(document.as_bytes(), Options::lenient());
    assert!(matches!(kind, Some(ErrorKind::Syntax(_))), "{kind:?}");
}

#[rstest]
#[case::empty(b"", ErrorKind::EmptyDocument)]
#[case::only_blank_lines(b"\n \n", ErrorKind::EmptyDocument)]
#[case::only_comments(b"# all is well\n", ErrorKind::EmptyDocument)]
#[case::cut_value(b"a 1\na 2", ErrorKind::CutLastLine)]
#[case::cut_name(b"a 1\na", ErrorKind::CutLastLine)]
#[case::cut_label(b"a 1\na{b=\"c", ErrorKind::CutLastLine)]
#[case::cut_exponent(b"a 1\na 1e", ErrorKind::CutLastLine)]
#[case::cut_end_marker(b"a 1\n# EO", ErrorKind::CutLastLine)]
#[case::cut_character(b"a 1\na{b=\"\xc3", ErrorKind::CutLastLine)]
#[case::cut_blank(b"a 1\n ", ErrorKind::CutLastLine)]
#[case::second_body(b"a 1\n# EOF\na 1\n# EOF\n", ErrorKind::TextAfterEnd)]
#[case::second_body_of_the_same_shape(b"a{b=\"c\"} 1 2\n# EOF\na{b=\"c\"} 1 2\n", ErrorKind::TextAfterEnd)]
#[case::second_end_marker(b"a 1\n# EOF\n# EOF\n", ErrorKind::TextAfterEnd)]
#[case::comment_after_end(b"a 1\n# EOF\n# done\n", ErrorKind::TextAfterEnd)]
#[case::not_utf8(b"a{b=\"\xff\"} 1\n", ErrorKind::NotUtf8)]
#[case::surrogate(b"a{b=\"\xed\xa0\x80\"} 1\n", ErrorKind::NotUtf8)]
fn a_document_is_refused(#[case] document: &[u8], #[case] kind: ErrorKind) {
    assert_eq!(kind_of_error(document, Options::lenient()), Some(kind));
}

#[rstest]
#[case::line_feed("a 1\n", false)]
#[case::end_marker("a 1\n# EOF\n", true)]
#[case::end_marker_without_line_feed("a 1\n# EOF", true)]
#[case::end_marker_with_blanks("a 1\n # \tEOF \r\n", true)]
#[case::blank_lines_after_the_end("a 1\n# EOF\n\n \r\n", true)]
#[case::only_the_end_marker("# EOF\n", true)]
#[case::only_metadata("# TYPE a gauge\n", false)]
fn the_summary_says_whether_the_end_marker_was_there(#[case] document: &str, #[case] seen: bool) {
    assert_eq!(
        summary(document.as_bytes(), Options::lenient()).end_marker_seen,
        seen
    );
}

#[test]
fn skipped_lines_are_counted_and_the_first_is_explained() {
    let options = Options {
        on_unreadable: OnUnreadable::Skip,
        ..Options::lenient()
    };
    let summary = summary(b"a 1\nb is\nc 2\n\xff\nd{ 3\n", options);
    assert_eq!((summary.lines, summary.samples, summary.skipped_lines), (5, 2, 3));
    let first = summary.first_skipped.expect("a line was skipped");
    assert_eq!((first.line(), first.column(), first.excerpt()), (2, 3, "b is"));
}

#[rstest]
#[case::cut(b"a 1\nb is", ErrorKind::CutLastLine)]
#[case::second_body(b"a 1\n# EOF\na 1\n", ErrorKind::TextAfterEnd)]
#[case::empty(b"", ErrorKind::EmptyDocument)]
#[case::nothing_readable(b"Jwt is missing\n", ErrorKind::NothingReadable)]
fn skipping_does_not_pass_over(#[case] document: &[u8], #[case] kind: ErrorKind) {
    let options = Options {
        on_unreadable: OnUnreadable::Skip,
        ..Options::lenient()
    };
    assert_eq!(kind_of_error(document, options), Some(kind));
}

#[rstest]
#[case::longest_line("aaaa 1\n", None)]
#[case::too_long("aaaaa 1\n", Some(ErrorKind::LineTooLong { limit: 6 }))]
#[case::too_long_without_end("aaaaa 1", Some(ErrorKind::LineTooLong { limit: 6 }))]
#[case::longest_document("a 1\nb 1\nc 1\n", None)]
#[case::too_long_a_document("a 1\nb 1\nc 1\n\n", Some(ErrorKind::DocumentTooLong { limit: 12 }))]
#[case::most_labels("{\"a\"} 1\n", Some(ErrorKind::LineTooLong { limit: 6 }))]
fn limits_hold(#[case] document: &str, #[case] kind: Option<ErrorKind>) {
    let limits = Limits {
        max_line_bytes: 6,
        max_document_bytes: 12,
        ..Limits::default()
    };
    assert_eq!(
        kind_of_error(
            document.as_bytes(),
            Options {
                limits,
                ..Options::lenient()
            }
        ),
        kind
    );
}

#[rstest]
#[case::overflowing_value("a{b=\"c\"} 1e999 2")]
#[case::overflowing_timestamp(&format!("a{{b=\"c\"}} 1 {}", "9".repeat(400)))]
#[case::no_separator("a{b=\"c\"}1 2")]
#[case::another_name("a{d=\"c\"} 1 x")]
#[case::another_comma("a{b=\"c\";} 1 2")]
#[case::another_brace("a{b=\"c\"; 1 2")]
#[case::another_brace_close_to_the_end("a{b=\"c\"; 1")]
#[case::unclosed_value("a{b=\"c} 1 2")]
#[case::third_number("a{b=\"c\"} 1 2 3")]
fn a_line_like_the_one_before_is_held_to_the_same_rules(#[case] line: &str) {
    let document = format!("a{{b=\"c\"}} 1 2\n{line}\n");
    let mut reader = Reader::new(document.as_bytes(), Options::lenient());
    assert!(reader.next().is_some_and(|event| event.is_ok()));
    assert!(
        reader
            .next()
            .is_some_and(|event| event.is_err_and(|error| error.line() == 2))
    );
}

#[test]
fn line_limit_holds_for_a_line_like_the_one_before() {
    let limits = Limits {
        max_line_bytes: 12,
        ..Limits::default()
    };
    let options = Options {
        limits,
        ..Options::lenient()
    };
    let too_long = Some(ErrorKind::LineTooLong { limit: 12 });
    assert_eq!(kind_of_error(b"a{b=\"cc\"} 12\na{b=\"cc\"} 12\n", options), None);
    assert_eq!(
        kind_of_error(b"a{b=\"cc\"} 12\na{b=\"ccc\"} 12\n", options),
        too_long
    );
}

#[test]
fn label_limit_holds() {
    let limits = Limits {
        max_labels: 2,
        ..Limits::default()
    };
    let options = Options {
        limits,
        ..Options::lenient()
    };
    assert_eq!(kind_of_error(b"a{b=\"1\",c=\"2\"} 1\n", options), None);
    let too_many = ErrorKind::TooManyLabels { limit: 2 };
    assert_eq!(
        kind_of_error(b"a{b=\"1\",c=\"2\",d=\"3\"} 1\n", options),
        Some(too_many)
    );
    assert_eq!(
        kind_of_error(b"a 1 # {b=\"1\",c=\"2\",d=\"3\"} 1\n", options),
        Some(too_many)
    );
}

#[rstest]
#[case::plain_text(
    "Jwt is missing",
    "error: line 1, column 5: cannot parse the line, expected a number, in `Jwt is missing`; \
     no earlier line was valid either: check the address and the key"
)]
#[case::page(
    "<!DOCTYPE html>\n<html>\n",
    "error: line 1, column 1: cannot parse the line, expected a metric name, in `<!DOCTYPE html>`; \
     no earlier line was valid either: check the address and the key"
)]
#[case::cut(
    "a 1\nb{c=\"d",
    "error: line 2, column 7: the last line ends in neither a line feed nor the end marker `# EOF`, \
     so the document is truncated: fetch it again, in `b{c=\"d`"
)]
#[case::empty("", "error: line 1, column 1: the document is empty")]
fn errors_tell_an_operator_what_to_do(#[case] document: &str, #[case] error: &str) {
    assert_eq!(read(document).last().map(String::as_str), Some(error));
}

#[test]
fn timestamps_keep_their_text_and_convert_by_magnitude() {
    let document = b"a 1 1764050400\na 1 1764050400000\na 1 1764050400.5\na 1\n";
    let timestamps: Vec<_> = Reader::new(document, Options::lenient())
        .filter_map(|event| match event {
            Ok(Event::Sample(sample)) => Some((sample.timestamp_text(), sample.timestamp_ms())),
            _ => None,
        })
        .collect();
    assert_eq!(
        timestamps,
        [
            (Some("1764050400"), Some(1_764_050_400_000)),
            (Some("1764050400000"), Some(1_764_050_400_000)),
            (Some("1764050400.5"), Some(1_764_050_400_500)),
            (None, None),
        ]
    );
}

#[test]
fn unknown_is_a_type_of_its_own_name() {
    let kinds = [
        "unknown",
        "gauge",
        "counter",
        "stateset",
        "info",
        "histogram",
        "gaugehistogram",
        "summary",
    ];
    for word in kinds {
        let document = format!("# TYPE a {word}\n");
        let event = Reader::new(document.as_bytes(), Options::lenient()).next();
        let Some(Ok(Event::Type { kind, .. })) = event else {
            panic!("{event:?}")
        };
        assert_eq!(kind.as_str(), word);
        assert_eq!(kind == Kind::Unknown, word == "unknown");
    }
}

#[test]
fn a_reader_ends_after_its_first_error() {
    let mut reader = Reader::new(b"a 1\nb\nc 1\n", Options::lenient());
    assert!(reader.next().is_some_and(|event| event.is_ok()));
    assert!(reader.next().is_some_and(|event| event.is_err()));
    assert!(reader.next().is_none());
    assert!(reader.next().is_none());
}
