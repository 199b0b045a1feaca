//! The output of `--version`.

use std::sync::LazyLock;

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let build = [
        option_env!("TEMPORAL_CAPACITY_COMMIT"),
        option_env!("TEMPORAL_CAPACITY_DATE"),
    ];
    written(env!("CARGO_PKG_VERSION"), build)
});

/// Returns the version of the programs, with the commit and its date if they are known at build time
/// (`scripts/release` sets them).
pub fn version() -> &'static str {
    &VERSION
}

fn written(version: &str, build: [Option<&str>; 2]) -> String {
    let build: Vec<&str> = build.into_iter().flatten().filter(|it| !it.is_empty()).collect();
    if build.is_empty() {
        version.to_owned()
    } else {
        format!("{version} ({})", build.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_names_its_commit_and_date_where_they_are_known() {
        assert_eq!(written("1.2.3", [None, None]), "1.2.3");
        assert_eq!(written("1.2.3", [Some("abc1234"), None]), "1.2.3 (abc1234)");
        let both = [Some("abc1234"), Some("2026-11-29")];
        assert_eq!(written("1.2.3", both), "1.2.3 (abc1234 2026-11-29)");
    }
}
