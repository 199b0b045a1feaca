# `just check` runs what CI runs.
default: check

# Everything that CI runs, from formatting to the README's quick start.
check:
    bash .ci/run

fmt:
    cargo fmt --all

lint:
    cargo clippy --workspace --all-targets --all-features --locked -- -D warnings

test:
    cargo test --workspace --locked

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features --locked

deny:
    cargo deny --all-features check bans licenses sources

# Speed of the OpenMetrics reader compared with others.
bench-reader:
    cargo bench -p openmetrics-reader

# Speed of backtests compared with the target times.
bench-backtest:
    cargo bench -p capacity-backtest

# CPU, memory and requests of a plan for 1,000 and 10,000 namespaces.
bench-plan:
    scripts/bench-plan

# Records the histories of the current version as replay fixtures.
record-histories:
    TEMPORAL_CAPACITY_RECORD_HISTORIES=1 cargo test -p capacity-tests --test temporal histories_of_this_run_replay
