//! What `edgeloop load --compare` makes of reports: of any size, of earlier versions, of none.

#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

/// As the first version wrote it, of two seconds.
const FIRST: &str = include_str!("load_reports/first.json");

#[test]
fn report_of_an_earlier_version_is_compared_and_says_what_its_figures_lack() {
    let calm = report();
    let mut faulty = report();
    faulty["steps"][0]["errors"] = json!({ "bad_status": 7 });
    let output = compare(&[("calm", &calm), ("faulty", &faulty)], &[]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "the errors of either are errors: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("faulty.json is of an earlier version"), "{stderr}");
    let stdout = text(&output.stdout);
    let rate = calm["steps"][0]["rate"].as_f64().unwrap().round() as u64;
    assert!(stdout.replace(',', "").matches(&rate.to_string()).count() == 2, "{stdout}");
    let output = compare(&[("calm", &calm), ("again", &calm)], &[]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

#[test]
fn file_that_cannot_be_compared_says_why() {
    let mut newer = report();
    newer["schema"] = json!(2);
    let mut cut = report();
    cut["steps"][0].as_object_mut().unwrap().remove("rate");
    for (other, why) in [
        (newer, "its schema is 2, and 1 is known"),
        (json!({ "a": 1 }), "it is no report of `edgeloop load --json`"),
        (cut, "missing field `rate`"),
    ] {
        let output = compare(&[("calm", &report()), ("other", &other)], &[]);
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
        assert!(stderr.contains("other.json") && stderr.contains(why), "{stderr}");
    }
}

#[test]
fn tables_fit_80_columns_whatever_is_in_them() {
    let mut wide = report();
    let step = &mut wide["steps"][0];
    step["connections"] = json!(1_048_576);
    step["rate"] = json!(99_999_999.0);
    for name in ["p50_us", "p90_us", "p99_us", "p99_9_us", "max_us"] {
        step["latency"][name] = json!(3_599_999_999.0_f64);
    }
    step["client"]["cpu_us_per_message"] = json!(3_599_999.25);
    step["server"]["cpu_us_per_message"] = json!(3_599_999.25);
    step["server"]["rss_per_connection_bytes"] = json!(1_073_741_823.0);
    step["errors"] = json!({ "reset": 99_999_999 });
    step["client_bound"] = json!(true);
    let twin = step.clone();
    wide["steps"].as_array_mut().unwrap().push(twin);
    let name = "a-name-that-says-everything-about-the-run-which-is-what-names-are-for";
    for names in [["a", "b"], [name, "b"]] {
        let output = compare(&[(names[0], &wide), (names[1], &report())], &[]);
        let stdout = text(&output.stdout);
        let widest = stdout.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80) && stdout.contains("1,048,576"), "{stdout}");
        let keys = stdout.lines().filter(|line| line.contains(name)).count();
        assert_eq!(keys, usize::from(names[0] == name), "{stdout}");
    }
}

#[test]
fn page_begins_with_the_figures_and_has_pictures_of_a_ramp() {
    let mut ramp = report();
    let step = ramp["steps"][0].clone();
    let steps = [(50, 1000.0), (100, 2500.0), (150, 2000.0)].map(|(connections, rate)| {
        let mut step = step.clone();
        (step["connections"], step["rate"]) = (json!(connections), json!(rate));
        step
    });
    ramp["steps"] = json!(steps);
    let page = temporary("html");
    compare(&[("one", &report()), ("ramp", &ramp)], &["--html", page.to_str().unwrap()]);
    let html = fs::read_to_string(&page).unwrap();
    fs::remove_file(page).unwrap();
    let places =
        ["class=\"cards\"", "2,500", "Rate by connections", "p99 by connections", "<table"]
            .map(|words| html.find(words).unwrap_or_else(|| panic!("no {words}")));
    assert!(places.is_sorted(), "{places:?}");
    assert!(places[1] < html.find("<svg").unwrap(), "the figures come before any picture");
    // Each in the shape of a desk and that of a telephone; a dot for each step of either run.
    let between = &html[places[2]..places[3]];
    assert_eq!((between.matches("<svg").count(), between.matches("<circle").count()), (2, 2 * 4));
    // No column is without its name where the table is a list.
    assert_eq!(html.matches("<td ").count(), html.matches("<td data-name=").count());
    let page = temporary("html");
    compare(&[("one", &report()), ("two", &report())], &["--html", page.to_str().unwrap()]);
    let html = fs::read_to_string(&page).unwrap();
    fs::remove_file(page).unwrap();
    assert!(!html.contains("by connections"), "without a ramp there is nothing to draw");
}

fn report() -> Value {
    serde_json::from_str(FIRST).unwrap()
}

/// Compares reports by their names.
fn compare(reports: &[(&str, &Value)], others: &[&str]) -> Output {
    let directory = temporary("reports");
    fs::create_dir(&directory).unwrap();
    let files = reports.iter().map(|(name, report)| {
        let file = directory.join(format!("{name}.json"));
        fs::write(&file, report.to_string()).unwrap();
        file
    });
    let files: Vec<PathBuf> = files.collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeloop"));
    let output = command.args(["load", "--compare"]).args(&files).args(others).output().unwrap();
    fs::remove_dir_all(directory).unwrap();
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A path that no other test and no other run uses.
fn temporary(extension: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("edgeloop-load-reports-{}-{count}.{extension}", std::process::id());
    std::env::temp_dir().join(name)
}
