# Checks that must pass before a change lands. `just` lists them; CI runs `.ci/run`.

set shell := ["bash", "-euo", "pipefail", "-c"]

# What CI runs, in this order.
steps := "fmt deny clippy fuzz-lock doc public-api sim crash clock examples schema bench package test"

features := "awc sqlite test-util verify web platform-roots fuzzing"

# Tests, examples and benchmarks may unwrap, index and print.
allowed := "-A clippy::unwrap_used -A clippy::indexing_slicing -A clippy::panic \
    -A clippy::print_stdout -A clippy::print_stderr -A clippy::too_many_lines \
    -A clippy::wildcard_enum_match_arm -A clippy::float_cmp"

[private]
default:
    @just --list --unsorted

# Before a commit: the format, clippy and the unit tests.
check: fmt clippy unit

# All that CI runs; it installs what is missing, and says how long each step took.
ci:
    bash .ci/run

# The format.
fmt:
    cargo fmt --check

# Licences, duplicate versions and sources of dependencies.
deny:
    cargo deny --locked check bans licenses sources

# Clippy: the library with all features, with none and with each alone; then all targets.
clippy:
    cargo clippy --locked --all-features -- -D warnings
    cargo clippy --locked --no-default-features -- -D warnings
    for feature in {{ features }}; do \
        cargo clippy --locked --no-default-features --features "$feature" -- -D warnings; \
    done
    cargo clippy --locked --all-features --all-targets -- -D warnings {{ allowed }}

# The fuzzers' lock file fits their manifest.
fuzz-lock:
    cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null

# The documentation, with all features and with none.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --all-features
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --no-default-features

# The public API is what docs/public-api.txt lists.
public-api:
    .ci/public-api check

# Writes docs/public-api.txt, after a change of the public API.
public-api-update:
    .ci/public-api update

# Simulation: 1,000 seeds, and 40 over a store on a file.
sim:
    SIM_SEEDS=1000 cargo test --locked --release --test sim
    SIM_FILE_SEEDS=40 cargo test --locked --release --test sim over_a_store_on_a_file

# 20 rounds of crashes, and a redelivery of 50,000 dead letters with kills.
crash:
    CRASH_ROUNDS=20 CRASH_LETTERS=50000 cargo test --locked --release --test crash

# The clock is set a hundred times.
clock:
    CLOCK_SETTINGS=100 cargo test --locked --release --test clock

# Every example runs; two of them are asked something by curl.
examples:
    cargo run --locked --example hello
    cargo run --locked --example by_messages
    cargo run --locked --manifest-path examples/with_sqlx/Cargo.toml
    cargo run --locked --example transactional_outbox
    cargo run --locked --example quickstart
    cargo run --locked --features test-util --example custom_store
    .ci/receive
    .ci/embed

# The API answers as its document says, whatever is sent to it (`SCHEMA_SECONDS=600` for longer).
schema:
    .ci/schema

# The benchmark runs, for a short time, built like the tests: its figures mean nothing.
bench:
    cargo bench --locked --profile release --bench throughput -- quick

# The package builds from the files in it; commit everything first.
package:
    cargo package --locked

# The unit tests.
unit:
    cargo test --locked --lib

# All tests: the README's command.
test:
    cargo test --locked
