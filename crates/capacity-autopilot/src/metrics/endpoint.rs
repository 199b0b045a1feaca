//! Reads the metrics of an account from the service's endpoint, and folds them into usage.

use std::collections::BTreeSet;

use capacity_engine::NamespaceId;
use openmetrics_reader::scrape::{AccountQuery, FamilyQuery, Scraper};
use openmetrics_reader::temporal_cloud::{Series, UsageFold};
use openmetrics_reader::{Event, Options, Reader};

use super::busy::{Busy, SearchError, is_not_zero, number_of};
use super::detail::Detail;
use super::read::Unread;
use super::usage::{AccountMetrics, Origin, account_metrics};

/// Returns the number of requests needed to read some namespaces.
pub(crate) fn requests_for(
    scraper: &Scraper,
    namespaces: &[NamespaceId],
    detail: Detail,
    only_these: bool,
) -> u32 {
    let (queries, names) = (detail.queries(), bare_names(namespaces));
    let query = AccountQuery {
        families: &queries,
        namespaces: &names,
        only_these,
    };
    u32::try_from(scraper.requests_for(&query)).unwrap_or(u32::MAX)
}

fn bare_names(namespaces: &[NamespaceId]) -> Vec<&str> {
    let names: BTreeSet<&str> = namespaces.iter().map(NamespaceId::name).collect();
    names.into_iter().collect()
}

/// Reads the metrics of namespaces, all for one minute. Also returns the number of requests.
///
/// # Errors
///
/// Why the metrics are unavailable. Do not draw conclusions from their absence.
pub(crate) async fn read(
    scraper: &Scraper,
    namespaces: &[NamespaceId],
    detail: Detail,
    only_these: bool,
) -> Result<(AccountMetrics, u32), Unread> {
    let (queries, names) = (detail.queries(), bare_names(namespaces));
    let query = AccountQuery {
        families: &queries,
        namespaces: &names,
        only_these,
    };
    let mut fold = UsageFold::of(namespaces.iter().map(NamespaceId::as_str));
    let nothing = fold.another();
    // The documents of a large account are large, but the folded result is small.
    let folded = |document: Vec<u8>| {
        let mut part = nothing.another();
        part.read(&document).map(|()| part)
    };
    let answer = scraper.read_account_with(&query, folded).await?;
    for part in answer.parts {
        // Every line has been read once before, so an error here is a bug.
        let mistake = |error| Unread::because(format!("the metrics cannot be read: {error}"));
        fold.merge(part.map_err(mistake)?);
    }
    let metrics = account_metrics(fold.finish(), detail.served(), Origin::Scraped);
    Ok((metrics, answer.requests))
}

/// Returns the namespaces with a nonzero series in these families.
///
/// # Errors
///
/// If the families cannot be read.
pub(crate) async fn busy(
    scraper: &Scraper,
    namespaces: &[NamespaceId],
    families: &[String],
) -> Result<Busy, SearchError> {
    let queries: Vec<FamilyQuery<'_>> = families
        .iter()
        .map(|name| FamilyQuery {
            name,
            points_per_namespace: 1.0,
            is_rate: false,
        })
        .collect();
    let query = AccountQuery {
        families: &queries,
        namespaces: &bare_names(namespaces),
        only_these: true,
    };
    let answer = scraper.read_account(&query).await?;
    let mut busy = Busy::new();
    for document in &answer.documents {
        for event in Reader::new(document, Options::lenient()) {
            let Event::Sample(sample) = event? else { continue };
            let family = sample.name().unescaped();
            if is_not_zero(sample.value()) && families.iter().any(|it| *it == family) {
                let number = number_of(&Series::of_sample(&sample), namespaces);
                busy.extend(number.map(|number| (number, family.to_string())));
            }
        }
    }
    Ok(busy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use capacity_engine::{LimitKind, PerLimit, Rate, UsageGap};

    fn ids(names: &[&str]) -> Vec<NamespaceId> {
        names.iter().map(|name| name.parse().expect("an id")).collect()
    }

    fn folded(lines: &str) -> AccountMetrics {
        metrics_of(&[], lines, Origin::Scraped)
    }

    fn metrics_of(declared: &[&str], lines: &str, origin: Origin) -> AccountMetrics {
        let ids = ids(&["idle.a1b2c", "orders.a1b2c", "pay.a1b2c"]);
        let mut fold = UsageFold::of(ids.iter().map(NamespaceId::as_str));
        for family in declared {
            fold.declare(&format!("temporal_cloud_v1_{family}"));
        }
        let whole = |line: &str| {
            format!(
                "temporal_cloud_v1_{}\n",
                line.trim().replace("NS", "temporal_namespace")
            )
        };
        let document: Vec<String> = lines.trim().lines().map(whole).collect();
        let document = document.concat();
        fold.read(document.as_bytes()).expect("readable");
        account_metrics(fold.finish(), PerLimit::from_fn(|_| true), origin)
    }

    /// The endpoint declares a family without samples; storage does not, so it may not have been scraped.
    #[test]
    fn a_family_without_samples_is_idle_when_scraped_and_unread_when_stored() {
        let lines = r#"
            total_action_count{NS="idle.a1b2c"} 5 1790000040
            total_action_count{NS="orders.a1b2c"} 5 1790000040
            total_action_count{NS="pay.a1b2c"} 5 1790000040
            "#;
        for (origin, is_read) in [(Origin::Scraped, true), (Origin::Stored, false)] {
            let metrics = metrics_of(&["operations_count"], lines, origin);
            let sample = metrics.namespaces["pay.a1b2c"].sample.as_ref().expect("known");
            assert!(sample.served_read[LimitKind::Actions]);
            assert_eq!(sample.served_read[LimitKind::Operations], is_read);
        }
    }

    fn rate(per_second: u32) -> Rate {
        Rate::per_second(per_second)
    }

    #[test]
    fn foreground_series_of_the_active_replica_are_summed() {
        let metrics = folded(
            r#"
            service_request_count{NS="pay.a1b2c",operation="Poll"} 30 1790000040
            service_request_count{NS="pay.a1b2c",operation="Start"} 12 1790000040
            total_action_count{NS="pay.a1b2c",is_background="false",namespace_mode="active"} 5 1790000040
            total_action_count{NS="pay.a1b2c",is_background="true",namespace_mode="active"} 100 1790000040
            total_action_count{NS="pay.a1b2c",is_background="false",namespace_mode="standby"} 100 1790000040
            "#,
        );
        let sample = metrics.namespaces["pay.a1b2c"].sample.as_ref().expect("known");
        assert_eq!(sample.usage[LimitKind::Requests].served, rate(42));
        assert_eq!(sample.usage[LimitKind::Actions].served, rate(5));
        assert_eq!(sample.minute.as_second(), 1_790_000_040);
    }

    #[test]
    fn absent_labels_mean_foreground_and_active() {
        let metrics = folded(r#"total_action_count{NS="pay.a1b2c"} 5 1790000040"#);
        let sample = metrics.namespaces["pay.a1b2c"].sample.as_ref().expect("known");
        assert_eq!(sample.usage[LimitKind::Actions].served, rate(5));
    }

    #[test]
    fn a_limit_is_the_newest_and_of_equally_new_ones_the_largest() {
        let metrics = folded(
            r#"
            action_limit{NS="pay.a1b2c",region="a"} 500 1790000040
            action_limit{NS="pay.a1b2c",region="b"} 800 1790000040
            action_limit{NS="pay.a1b2c",region="c"} 9000 1789999980
            "#,
        );
        assert_eq!(
            metrics.namespaces["pay.a1b2c"].limits[LimitKind::Actions],
            Some(rate(800))
        );
    }

    #[test]
    fn the_newest_point_of_a_series_counts_in_seconds_and_milliseconds() {
        let metrics = folded(
            r#"
            total_action_count{NS="pay.a1b2c"} 7 1790000040000
            total_action_count{NS="pay.a1b2c"} 5 1789999980
            "#,
        );
        let sample = metrics.namespaces["pay.a1b2c"].sample.as_ref().expect("known");
        assert_eq!(sample.usage[LimitKind::Actions].served, rate(7));
        assert_eq!(sample.minute.as_second(), 1_790_000_040);
    }

    #[test]
    fn value_idle_and_unavailable_are_distinguished() {
        let metrics = folded(
            r#"
            action_limit{NS="idle.a1b2c"} 500 1790000040
            action_limit{NS="pay.a1b2c"} 500 1790000040
            total_action_count{NS="pay.a1b2c"} 5 1790000040
            "#,
        );
        let idle = metrics.namespaces["idle.a1b2c"].sample.as_ref().expect("known");
        assert!(!idle.reported && idle.usage[LimitKind::Actions].served.is_zero());
        assert!(
            metrics.namespaces["pay.a1b2c"]
                .sample
                .as_ref()
                .expect("known")
                .reported
        );
        assert!(!metrics.namespaces.contains_key("orders.a1b2c"));
    }

    #[test]
    fn an_invalid_rate_is_unknown_and_not_zero() {
        for value in ["NaN", "+Inf", "-1"] {
            let metrics = folded(&format!(
                r#"total_action_count{{NS="pay.a1b2c"}} {value} 1790000040"#
            ));
            assert!(metrics.namespaces["pay.a1b2c"].sample.is_err(), "{value}");
            let beside = folded(&format!(
                "service_request_count{{NS=\"pay.a1b2c\",operation=\"a\"}} {value} 1790000040\n\
                 service_request_count{{NS=\"pay.a1b2c\",operation=\"b\"}} 3 1790000040\n"
            ));
            let pay = &beside.namespaces["pay.a1b2c"];
            assert!(pay.sample.is_ok(), "{value}");
            assert_eq!(pay.gaps[LimitKind::Requests], Some(UsageGap::PartlyUnreadable));
        }
    }

    #[test]
    fn labels_of_a_scrape_pipeline_never_double_usage() {
        let metrics = folded(
            r#"
            total_action_count{NS="pay.a1b2c",pod="agent-0",cluster="eu",anything="x"} 5 1790000040
            total_action_count{NS="pay.a1b2c",pod="agent-1",cluster="eu",anything="y"} 5 1790000040
            service_request_count{NS="pay.a1b2c",operation="a",region="x",job="1"} 3 1790000040
            service_request_count{NS="pay.a1b2c",operation="a",region="y",job="2"} 4 1790000040
            "#,
        );
        let sample = metrics.namespaces["pay.a1b2c"].sample.as_ref().expect("known");
        assert_eq!(sample.usage[LimitKind::Actions].served, rate(5));
        assert_eq!(
            sample.usage[LimitKind::Requests].served,
            rate(7),
            "regions are the service's"
        );
    }

    #[test]
    fn samples_with_an_overwritten_namespace_count_for_no_namespace() {
        let metrics = folded(
            r#"
            action_limit{NS="pay.a1b2c",exported_temporal_namespace="orders.a1b2c"} 500 1790000040
            "#,
        );
        assert!(metrics.namespaces.is_empty());
        assert_eq!((metrics.overwritten, metrics.unlisted_count), (1, 0));
    }

    #[test]
    fn throttling_that_cannot_be_read_is_unknown_and_never_quiet() {
        for value in ["NaN", "+Inf", "-1"] {
            let lines = format!(
                "total_action_count{{NS=\"pay.a1b2c\"}} 5 1790000040\n\
                 total_action_throttled_count{{NS=\"pay.a1b2c\"}} {value} 1790000040\n"
            );
            let metrics = folded(&lines);
            let why = metrics.namespaces["pay.a1b2c"]
                .sample
                .as_ref()
                .expect_err("unknown")
                .to_string();
            assert!(
                why.contains("throttling of actions is unknown: a rate of"),
                "{why}"
            );
            // Certain throttling still counts.
            let beside = folded(&format!(
                "{lines}service_request_throttled_count{{NS=\"pay.a1b2c\"}} 3 1790000040\n"
            ));
            assert!(beside.namespaces["pay.a1b2c"].sample.is_ok(), "{value}");
        }
    }

    #[test]
    fn with_standby_series_alone_usage_is_unknown() {
        let metrics = folded(r#"total_action_count{NS="pay.a1b2c",namespace_mode="passive"} 5 1790000040"#);
        assert!(metrics.namespaces["pay.a1b2c"].sample.is_err());
    }

    #[test]
    fn a_family_that_appears_nowhere_is_missing_while_others_show_traffic() {
        let metrics = folded(
            r#"
            total_action_count{NS="pay.a1b2c"} 5 1790000040
            service_request_count{NS="orders.a1b2c",operation="a"} 5 1790000040
            "#,
        );
        assert!(metrics.missing_families[LimitKind::Operations]);
        assert!(!metrics.missing_families[LimitKind::Requests]);
        let quiet = folded(r#"action_limit{NS="pay.a1b2c"} 500 1790000040"#);
        assert!(
            !quiet.missing_families[LimitKind::Operations],
            "nothing shows traffic"
        );
    }

    #[test]
    fn bare_names_are_matched_if_the_account_agrees() {
        let metrics = folded(
            r#"
            action_limit{NS="pay",temporal_account="a1b2c"} 500 1790000040
            action_limit{NS="orders",temporal_account="zzzzz"} 500 1790000040
            action_limit{NS="idle"} 500 1790000040
            action_limit{region="x"} 500 1790000040
            "#,
        );
        assert_eq!(
            metrics.namespaces.keys().map(|name| &**name).collect::<Vec<_>>(),
            ["pay.a1b2c"]
        );
        assert_eq!((metrics.unlisted_count, metrics.unlabeled), (2, 1));
    }

    #[test]
    fn the_minute_is_the_oldest_of_its_inputs() {
        let metrics = folded(
            r#"
            action_limit{NS="pay.a1b2c"} 500 1789999500
            total_action_count{NS="pay.a1b2c"} 5 1790000040
            "#,
        );
        let sample = metrics.namespaces["pay.a1b2c"].sample.as_ref().expect("known");
        assert_eq!(sample.minute.as_second(), 1_789_999_500);
    }
}
