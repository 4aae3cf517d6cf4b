//! The sources keep the shape that ARCHITECTURE.md describes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The layers, lowest first. A module may use itself and modules of lower rank.
const LAYERS: [(&str, u8); 10] = [
    ("domain", 0),
    ("store", 1),
    ("transport", 1),
    ("verify", 1),
    ("error", 2),
    ("actor", 3),
    ("engine", 4),
    ("web", 5),
    ("testing", 5),
    ("fuzzing", 5),
];

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("target") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

/// Returns the top-level module of a path below `src`.
fn module(path: &Path) -> String {
    let below = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .unwrap();
    let first = below
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn rank(module: &str) -> Option<u8> {
    LAYERS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, rank)| *rank)
}

/// Returns the names in a source that it must not use: modules of a higher rank, and forms that
/// hide which module is meant.
fn upward_uses(module: &str, text: &str) -> Vec<String> {
    let own = rank(module).unwrap_or(u8::MAX);
    let code = without_tests(text);
    // Links in documentation may point to any module.
    let code = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code: Vec<&str> = code.collect();
    let used = code.iter().flat_map(|line| line.split("crate::").skip(1));
    let names = used.map(|rest| {
        rest.split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap_or_default()
            .to_owned()
    });
    let allowed = |name: &str| name == module || rank(name).is_some_and(|other| other < own);
    let upward = names.filter(|name| !allowed(name));
    // These could lead out of a module without naming the crate.
    let hidden = ["super::super::", "use crate as", "crate::{"];
    let hidden = hidden
        .into_iter()
        .filter(|form| code.iter().any(|line| line.contains(form)));
    upward.chain(hidden.map(str::to_owned)).collect()
}

/// Returns a source without the modules that are compiled only for tests. They may use the tools
/// for tests.
fn without_tests(text: &str) -> String {
    let mut code = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line != "#[cfg(test)]" {
            code.push(line);
            continue;
        }
        let item = lines.next().unwrap_or_default();
        if item.ends_with('{') {
            lines.by_ref().find(|line| *line == "}");
        } else if !item.ends_with(';') {
            code.push(item);
        }
    }
    code.join("\n")
}

#[test]
fn imports_only_look_down() {
    for (path, text) in sources("src") {
        let module = module(&path);
        if module == "lib" {
            continue;
        }
        assert!(
            rank(&module).is_some(),
            "{} belongs to no layer",
            path.display()
        );
        let wrong = upward_uses(&module, &text);
        assert!(wrong.is_empty(), "{} looks up to {wrong:?}", path.display());
    }
}

/// Handlers name the macro that documents them, and the scope that collects them.
#[test]
fn only_the_model_of_the_api_knows_utoipa() {
    let mut documented = 0;
    for (path, text) in sources("src") {
        if path.to_str().unwrap().contains("src/web/model/") {
            continue;
        }
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code.filter(|line| line.contains("utoipa")) {
            let rest = line
                .replace("#[utoipa::path(", "")
                .replace("utoipa_actix_web::scope", "");
            assert!(!rest.contains("utoipa"), "{}: {line}", path.display());
            documented += 1;
        }
    }
    assert!(documented > 30, "{documented}");
}

#[test]
fn an_upward_import_is_noticed() {
    assert_eq!(upward_uses("domain", "use crate::store::Store;"), ["store"]);
    assert_eq!(
        upward_uses("store", "use crate::transport::Channel;"),
        ["transport"],
        "neighbours are not below"
    );
    assert_eq!(
        upward_uses("actor", "let x = crate::engine::Engine::builder();"),
        ["engine"]
    );
    for hidden in [
        "use super::super::actor::permits::Permits;",
        "#[cfg(test)]\nmod tests;\nuse crate::actor::permits::Permits;",
        "#[cfg(test)]\nmod tests {\n    use crate::engine::Engine;\n}\nuse crate::actor::permits::Permits;",
        "use crate::{actor, domain};",
    ] {
        assert!(!upward_uses("domain", hidden).is_empty(), "{hidden}");
    }
    for fine in [
        "use crate::domain::events::event::Event;\n/// See [`crate::engine`].",
        "#[cfg(test)]\nmod tests {\n    use crate::testing::SimClock;\n}",
    ] {
        assert!(upward_uses("actor", fine).is_empty(), "{fine}");
    }
}

/// The modules of `domain`, in the order of its `mod.rs`: each imports only from those before it.
#[test]
fn rooms_import_upwards_in_their_list_and_no_two_files_import_each_other() {
    let all = sources("src/domain");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/domain");
    let list = fs::read_to_string(root.join("mod.rs")).unwrap();
    let rooms: Vec<_> = list
        .lines()
        .filter_map(|line| line.strip_prefix("pub(crate) mod ")?.strip_suffix(';'))
        .collect();
    assert!(rooms.len() > 8, "{rooms:?}");
    let mut imports = BTreeMap::<String, BTreeSet<String>>::new();
    for (path, text) in &all {
        let file = path.strip_prefix(&root).unwrap().with_extension("");
        let file = file.to_str().unwrap().replace('\\', "/");
        let room = file.split('/').next().unwrap();
        let Some(place) = rooms.iter().position(|name| *name == room) else {
            continue;
        };
        for import in without_tests(text).split("crate::domain::").skip(1) {
            let mut parts = import.split(|c: char| !c.is_alphanumeric() && c != '_');
            let (other, module) = (parts.next().unwrap(), parts.nth(1).unwrap());
            let found = rooms.iter().position(|name| *name == other);
            let found = found.unwrap_or_else(|| panic!("{file} imports {other}, not in a list"));
            assert!(
                found <= place,
                "{file} imports {other}, a room after its own"
            );
            let other = format!("{other}/{module}");
            if other != file && file.split('/').count() == 2 {
                imports.entry(file.clone()).or_default().insert(other);
            }
        }
    }
    for file in imports.keys() {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&String> = imports[file].iter().collect();
        while let Some(other) = next.pop() {
            if reached.insert(other) {
                next.extend(imports.get(other).into_iter().flatten());
            }
        }
        assert!(!reached.contains(file), "{file} imports itself in a circle");
    }
}

#[test]
fn rules_read_no_clock_and_do_no_io() {
    for (path, text) in sources("src/domain") {
        let code = without_tests(&text);
        for word in [
            "::now",
            ".elapsed()",
            "tokio::",
            "actix",
            "std::fs",
            "std::net",
            "fastrand::u",
            "HashSet",
        ] {
            let found = code
                .lines()
                .find(|line| !line.trim_start().starts_with("//") && line.contains(word));
            assert!(found.is_none(), "{} uses {word}: {found:?}", path.display());
        }
    }
}

#[test]
fn every_state_and_transition_of_a_delivery_is_documented() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lifecycle.md"))
        .unwrap();
    for (file, name) in [
        ("src/domain/deliveries/delivery.rs", "DeliveryState"),
        ("src/domain/deliveries/outcome.rs", "DeadLetterReason"),
        ("src/domain/endpoint/status.rs", "EndpointState"),
        ("src/domain/deliveries/outcome.rs", "Failure"),
    ] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let body = text
            .split(&format!("pub enum {name} {{"))
            .nth(1)
            .unwrap()
            .split("\n}")
            .next()
            .unwrap();
        let variants = body
            .lines()
            .filter(|line| line.starts_with("    ") && !line.starts_with("     "));
        let names = variants.map(|line| {
            line.trim()
                .split(|c: char| !c.is_alphanumeric())
                .next()
                .unwrap_or_default()
        });
        for variant in names.filter(|name| name.starts_with(char::is_uppercase)) {
            assert!(
                page.contains(&format!("`{variant}`")),
                "docs/lifecycle.md does not mention {name}::{variant}"
            );
        }
    }
}

/// A method that is not forwarded would run the trait's default implementation.
#[test]
fn every_method_of_a_store_is_forwarded() {
    let source = |name: &str| {
        let all = sources("src/store");
        let found = all.into_iter().find(|(path, _)| path.ends_with(name));
        found.unwrap().1
    };
    let (contract, forwarding) = (source("store/contract.rs"), source("store/forwarding.rs"));
    let methods = contract.split("\n    fn ").skip(1);
    let names: Vec<_> = methods
        .map(|method| method.split('(').next().unwrap())
        .collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        let forwarded = [format!("fn {name}("), format!(" {name}(")];
        assert!(
            forwarded.iter().any(|form| forwarding.contains(form)),
            "{name} is not forwarded"
        );
    }
}

/// Code in examples follows rustfmt, and a row of a table cannot be wrapped.
#[test]
fn no_comment_is_wider_than_100_columns() {
    let folders = ["src", "tests", "fuzz", "examples", "benches"];
    for (path, text) in folders.into_iter().flat_map(sources) {
        let mut in_code = false;
        for (number, line) in text.lines().enumerate() {
            let comment = line.trim_start();
            let documentation = comment.strip_prefix("///").or(comment.strip_prefix("//!"));
            if documentation.is_some_and(|text| text.trim_start().starts_with("```")) {
                in_code = !in_code;
            }
            let is_table = documentation.is_some_and(|text| text.trim_start().starts_with('|'));
            if comment.starts_with("//") && !in_code && !is_table {
                let place = format!("{}:{}", path.display(), number + 1);
                assert!(line.chars().count() <= 100, "{place} is too wide: {line}");
            }
        }
    }
}

/// Returns the literal parts of a message between the places that differ, each at most as long as
/// a table shows it. Parts of fewer than eight bytes are left out.
fn literal_parts(message: &str) -> Vec<String> {
    let mut literal = String::new();
    let mut depth = 0;
    for c in message.chars() {
        depth += i32::from(c == '{');
        let differs = depth > 0 || matches!(c, ';' | ':' | '\\');
        literal.push(if differs { '…' } else { c });
        depth -= i32::from(c == '}');
    }
    let parts = literal.split('…').map(str::trim);
    let parts = parts.filter(|part| part.len() >= 8);
    parts.map(|part| part.chars().take(24).collect()).collect()
}

/// Returns the level and the message of every `log` macro in a source.
fn log_messages(text: &str) -> Vec<(&str, &str)> {
    let calls = text.split("log::").skip(1).filter_map(|rest| {
        let (level, rest) = rest.split_once("!(")?;
        let levels = ["error", "warn", "info", "debug", "trace"];
        let message = rest.split('"').nth(1)?;
        levels.contains(&level).then_some((level, message))
    });
    calls.collect()
}

/// Returns the level and the message of every row of the table of log records.
fn log_rows(lib: &str) -> Vec<(&str, &str)> {
    let rows = lib.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("//! | ")?.split(" | ");
        let level = cells.next()?;
        let is_row = ["error", "warn", "info", "debug"].contains(&level);
        is_row.then(|| (level, cells.next().unwrap_or_default()))
    });
    rows.collect()
}

#[test]
fn every_log_message_is_in_the_table_and_every_row_is_logged() {
    let (lib, code): (Vec<_>, Vec<_>) = sources("src")
        .into_iter()
        .partition(|(path, _)| path.ends_with("src/lib.rs"));
    let rows = log_rows(&lib[0].1);
    let mut count = 0;
    for (path, text) in &code {
        for (level, message) in log_messages(&without_tests(text)) {
            let parts = literal_parts(message);
            if parts.is_empty() {
                continue; // The text was put together elsewhere, as that of a row below.
            }
            count += 1;
            let shows = |row: &str| parts.iter().any(|part| row.contains(part));
            let found = rows.iter().any(|(of, row)| *of == level && shows(row));
            assert!(
                found,
                "{}: no row of level {level} has {parts:?}",
                path.display()
            );
        }
    }
    assert!(count > 30, "{count}");
    let code: String = code.iter().map(|(_, text)| text.as_str()).collect();
    for (level, row) in rows {
        for message in row.split('`').skip(1).step_by(2) {
            let parts = literal_parts(message);
            let logged = parts.iter().any(|part| code.contains(part));
            assert!(
                logged || parts.is_empty(),
                "nothing logs {parts:?} ({level})"
            );
        }
    }
}
