//! The rules of the `OpenMetrics` 1.0 text format, beyond the vectors of its project.

use openmetrics_reader::{Error, ErrorKind, Options, Reader};
use rstest::rstest;

fn first_error(document: &str) -> Option<Error> {
    Reader::new(document.as_bytes(), Options::strict()).find_map(Result::err)
}

/// Returns the lines, each with a line feed, followed by the end marker.
fn document(lines: &str) -> String {
    format!("{lines}\n# EOF\n")
}

#[rstest]
#[case::no_family_at_all("# EOF\n")]
#[case::family_without_samples("# TYPE a gauge\n# EOF\n")]
#[case::unknown_samples_side_by_side("a 1\nb 1\n# EOF")]
#[case::points_in_order("# TYPE a gauge\na{b=\"1\"} 1 1\na{b=\"1\"} 1 2\na{b=\"2\"} 1 1\n# EOF\n")]
#[case::nanoseconds_in_order("a 1 1764050400.000000001\na 1 1764050400.000000002\n# EOF\n")]
#[case::carriage_return_in_a_value("a{b=\"\r\"} 1\n# EOF\n")]
#[case::quantiles_in_any_order("# TYPE a summary\na{quantile=\"0.9\"} 1\na{quantile=\"0.5\"} 1\n# EOF\n")]
#[case::quantile_without_events("# TYPE a summary\na{quantile=\"0.9\"} NaN\n# EOF\n")]
#[case::two_points_of_a_histogram(
    "# TYPE a histogram\na_bucket{le=\"1\"} 1 1\na_bucket{le=\"+Inf\"} 1 1\na_bucket{le=\"1\"} 1 2\na_bucket{le=\"+Inf\"} 2 2\n# EOF\n"
)]
#[case::le_is_a_label_like_others_elsewhere("# TYPE a gauge\na{le=\"x\",quantile=\"y\"} 1\n# EOF\n")]
#[case::suffixes_mean_nothing_without_their_type("# TYPE a_total gauge\na_total -1\n# EOF\n")]
#[case::state_set_per_entity(
    "# TYPE a stateset\na{a=\"x\",e=\"1\"} 1\na{e=\"1\",a=\"y\"} 0\na{e=\"2\",a=\"x\"} 0\n# EOF\n"
)]
#[case::infos_of_several_entities(
    "# TYPE a info\na_info{e=\"1\",v=\"1\"} 1\na_info{e=\"2\",v=\"1\"} 1\n# EOF\n"
)]
#[case::exemplar_on_the_bound(
    "# TYPE a histogram\na_bucket{le=\"1\"} 1 # {} 1\na_bucket{le=\"+Inf\"} 1\n# EOF\n"
)]
#[case::unit_after_type("# UNIT a_b_s b_s\n# TYPE a_b_s gauge\n# EOF\n")]
fn a_valid_document_is_accepted(#[case] document: &str) {
    assert_eq!(first_error(document), None);
}

#[rstest]
#[case::blank_line("a 1\n\nb 1")]
#[case::leading_blank(" a 1")]
#[case::two_blanks("a 1  2")]
#[case::tab("a\t1")]
#[case::trailing_blank("a{b=\"c\"} 1 ")]
#[case::carriage_return("a 1\r")]
#[case::carriage_return_after_help("# HELP a b\r")]
#[case::comment("# a comment")]
#[case::two_blanks_in_metadata("# TYPE  a gauge")]
#[case::lower_case_keyword("# type a gauge")]
#[case::upper_case_type("# TYPE a GAUGE")]
#[case::help_without_blank("# HELP a")]
#[case::help_ending_in_a_lone_backslash("# HELP a b\\")]
#[case::unit_with_a_dot("# UNIT a.b b")]
#[case::two_units("# UNIT a_b b b")]
#[case::quoted_metric_name("{\"a\"} 1")]
#[case::quoted_label_name("a{\"b\"=\"c\"} 1")]
#[case::quoted_family("# TYPE \"a\" gauge")]
#[case::blank_in_braces("a{ b=\"c\"} 1")]
#[case::blank_before_braces("a {b=\"c\"} 1")]
#[case::colon_in_label_name("a{b:c=\"d\"} 1")]
#[case::byte_order_mark("\u{feff}a 1")]
#[case::overflow("a 1e999")]
#[case::signed_nan("a -NaN")]
#[case::exemplar_of_129_characters(
    "# TYPE a counter\na_total 1 # {bbbbbbbbb=\"111111111122222222223333333333444444444455555555556666666666777777777788888888889999999999aaaaaaaaaabbbbbbbbbb1234567890\"} 1"
)]
fn a_line_is_refused(#[case] lines: &str) {
    let error = first_error(&document(lines)).expect("an error");
    assert!(matches!(error.kind(), ErrorKind::Syntax(_)), "{error}");
}

#[rstest]
#[case::no_end_marker("a 1\n", ErrorKind::MissingEndMarker)]
#[case::blank_line_after_the_end("a 1\n# EOF\n\n", ErrorKind::TextAfterEnd)]
#[case::second_body("a 1\n# EOF\na 1\n# EOF\n", ErrorKind::TextAfterEnd)]
#[case::cut("a 1\nb 2", ErrorKind::CutLastLine)]
#[case::empty("", ErrorKind::EmptyDocument)]
fn a_document_without_its_end_is_refused(#[case] document: &str, #[case] kind: ErrorKind) {
    assert_eq!(first_error(document).map(|error| error.kind()), Some(kind));
}

#[rstest]
#[case::two_types("# TYPE a gauge\n# TYPE a gauge", "one TYPE")]
#[case::two_helps("# HELP a b\n# TYPE a gauge\n# HELP a b", "one HELP")]
#[case::two_units("# UNIT a_b b\n# UNIT a_b b", "one UNIT")]
#[case::metadata_after_samples("# TYPE a gauge\na 1\n# HELP a b", "precede its samples")]
#[case::interleaved_families("a 1\nb 1\na{c=\"d\"} 1", "unique")]
#[case::family_described_twice("# TYPE a gauge\n# TYPE b gauge\n# HELP a c", "unique")]
#[case::sample_of_another_type("# TYPE a counter\na 1", "unique")]
#[case::implied_name_taken_before("# TYPE a_count gauge\n# TYPE a summary", "unique")]
#[case::implied_name_taken_after("# TYPE a summary\n# TYPE a_count gauge", "unique")]
#[case::implied_name_taken_by_a_sample("a_info 1\n# TYPE a info", "unique")]
#[case::unit_not_in_the_name("# UNIT a b", "end in `_` and its unit")]
#[case::unit_is_the_whole_name("# UNIT b b", "end in `_` and its unit")]
#[case::unit_without_underscore("# UNIT ab b", "end in `_` and its unit")]
#[case::info_with_unit("# UNIT a_b b\n# TYPE a_b info", "must not have a unit")]
#[case::state_set_with_unit("# TYPE a_b stateset\n# UNIT a_b b", "must not have a unit")]
#[case::same_series_twice("a 1\na 2", "must have only one sample")]
#[case::same_series_in_another_order(
    "a{b=\"1\",c=\"2\"} 1\na{c=\"2\",b=\"1\"} 1",
    "must have only one sample"
)]
#[case::same_series_escaped_differently("a{b=\"\\\\z\"} 1\na{b=\"\\z\"} 1", "must have only one sample")]
#[case::same_counter_twice("# TYPE a counter\na_total 1\na_total 2", "must have only one sample")]
#[case::same_info_twice(
    "# TYPE a info\na_info{b=\"1\"} 1\na_info{b=\"1\"} 1",
    "must have only one sample"
)]
#[case::same_state_twice("# TYPE a stateset\na{a=\"x\"} 1\na{a=\"x\"} 1", "must have only one sample")]
#[case::same_quantile_twice(
    "# TYPE a summary\na{quantile=\"0\"} 1\na{quantile=\"0\"} 1",
    "must have only one sample"
)]
#[case::interleaved_metrics("a{b=\"1\"} 1 1\na{b=\"2\"} 1 1\na{b=\"1\"} 1 2", "must not be interleaved")]
#[case::backwards_by_a_nanosecond("a 1 1764050400.000000002\na 1 1764050400.000000001", "never go backwards")]
#[case::interleaved_points(
    "# TYPE a summary\na_count 1 1\na_count 1 2\na_sum 1 1\na_sum 1 2",
    "never go backwards"
)]
#[case::timestamp_missing_later("a 1 1\na 1", "or none")]
#[case::timestamp_missing_first("# TYPE a counter\na_total 1\na_created 1 1", "or none")]
#[case::counter_without_total("# TYPE a counter\na_created 1", "must have a `_total`")]
#[case::second_point_without_total("# TYPE a counter\na_total 1 1\na_created 1 2", "must have a `_total`")]
#[case::negative_total("# TYPE a counter\na_total -0.5", "neither negative nor NaN")]
#[case::creation_time_is_nan("# TYPE a counter\na_total 1\na_created NaN", "finite")]
#[case::half_a_count("# TYPE a summary\na_count 0.5", "must be an integer")]
#[case::infinite_count("# TYPE a summary\na_count +Inf", "must be an integer")]
#[case::half_a_bucket("# TYPE a histogram\na_bucket{le=\"+Inf\"} 0.5", "must be an integer")]
#[case::bucket_without_le("# TYPE a histogram\na_bucket 1", "must have a label `le`")]
#[case::bound_is_nan("# TYPE a histogram\na_bucket{le=\"NaN\"} 1", "must be a number")]
#[case::bound_is_no_number("# TYPE a histogram\na_bucket{le=\"x\"} 1", "must be a number")]
#[case::infinity_without_sign("# TYPE a histogram\na_bucket{le=\"Inf\"} 1", "written `+Inf`")]
#[case::le_on_a_count(
    "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count{le=\"1\"} 1\na_sum{le=\"1\"} 1",
    "only the buckets"
)]
#[case::quantile_on_a_sum("# TYPE a summary\na_sum{quantile=\"0.5\"} 1", "only the quantiles")]
#[case::no_infinite_bucket("# TYPE a histogram\na_bucket{le=\"1\"} 1", "bucket `+Inf`")]
#[case::no_bucket("# TYPE a histogram\na_created 1", "bucket `+Inf`")]
#[case::second_point_incomplete(
    "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1 1\na_bucket{le=\"1\"} 1 2",
    "bucket `+Inf`"
)]
#[case::first_point_incomplete(
    "# TYPE a histogram\na_bucket{le=\"1\"} 1 1\na_bucket{le=\"+Inf\"} 1 2",
    "bucket `+Inf`"
)]
#[case::buckets_not_cumulative(
    "# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1",
    "cumulative"
)]
#[case::buckets_not_sorted("# TYPE a histogram\na_bucket{le=\"2\"} 1\na_bucket{le=\"1\"} 1", "sorted")]
#[case::equal_bounds("# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"1.0\"} 1", "sorted")]
#[case::count_differs(
    "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 2\na_sum 1",
    "equal its bucket"
)]
#[case::sum_without_count("# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1", "both count and sum")]
#[case::gauge_sum_is_nan(
    "# TYPE a gaugehistogram\na_bucket{le=\"+Inf\"} 1\na_gcount 1\na_gsum NaN",
    "must not be NaN"
)]
#[case::exemplar_above_its_bucket(
    "# TYPE a histogram\na_bucket{le=\"1\"} 1 # {} 1.5\na_bucket{le=\"+Inf\"} 1",
    "must not be above"
)]
#[case::exemplar_on_a_gauge("# TYPE a gauge\na 1 # {} 1", "have exemplars")]
#[case::exemplar_without_type("a_total 1 # {} 1", "have exemplars")]
#[case::half_a_state("# TYPE a stateset\na{a=\"x\"} 0.5", "0 or 1")]
#[case::state_without_its_label("# TYPE a stateset\na{b=\"x\"} 1", "with the name of the family")]
#[case::info_is_zero("# TYPE a info\na_info 0", "must be 1")]
#[case::quantile_above_one("# TYPE a summary\na{quantile=\"1.5\"} 1", "from 0 to 1")]
#[case::quantile_missing("# TYPE a summary\na 1", "must have a label `quantile`")]
#[case::negative_quantile("# TYPE a summary\na{quantile=\"1\"} -1", "must not be negative")]
fn a_broken_rule_is_named(#[case] lines: &str, #[case] rule: &str) {
    let error = first_error(&document(lines)).expect("an error");
    assert!(
        matches!(error.kind(), ErrorKind::Rule(words) if words.contains(rule)),
        "{error}"
    );
}

#[test]
fn an_incomplete_point_is_reported_where_it_ended() {
    let error = first_error("# TYPE a histogram\na_bucket{le=\"1\"} 1\n# TYPE b gauge\nb 1\n# EOF\n")
        .expect("an error");
    assert_eq!((error.line(), error.column(), error.excerpt()), (2, 1, "a"));
}
