//! Tests of the backtest report in a real Chromium. Without one, a message is printed and only the checks in
//! `backtest.rs` run.

use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::cargo::CommandCargoExt;
use rstest::rstest;

/// Program names of Chromium in Debian, Fedora, Homebrew on macOS, and Google's own packages.
const BROWSERS: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let places = BROWSERS
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    places.into_iter().find(|place| place.is_file())
}

fn report(folder: &Path) -> PathBuf {
    let trace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/traces/nab-tweets-fb.csv");
    let output = Command::cargo_bin("temporal-capacity")
        .expect("the program")
        .env_clear()
        .args(["backtest", "-o", "html"])
        .arg(trace)
        .output()
        .expect("it runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let page = folder.join("report.html");
    std::fs::write(&page, output.stdout).expect("a file");
    page
}

/// Script that runs after the page has loaded: zooms to a day, hovers over the last decision, and records what
/// the page shows.
const PROBE: &str = r#"<script>window.addEventListener("load", () => {
  const button = (name) => [...document.querySelectorAll(".zoom button")].find((button) => button.textContent === name);
  button("Day").click();
  requestAnimationFrame(() => setTimeout(() => {
    const over = document.querySelector(".u-over"), box = over.getBoundingClientRect();
    const point = (x) => over.dispatchEvent(new MouseEvent("mousemove", { bubbles: true, clientX: x, clientY: box.top + 20, view: window }));
    const tip = document.querySelector(".tip");
    over.dispatchEvent(new MouseEvent("mouseenter", { bubbles: true, clientX: box.left, clientY: box.top, view: window }));
    for (let x = box.right - 1; x > box.left && tip.style.display !== "block"; x -= 4) point(x);
    document.body.dataset.seen = JSON.stringify({
      canvases: document.querySelectorAll("canvas").length,
      tip: tip.textContent,
      readout: document.querySelector(".readout").textContent,
      overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    });
  }, 100));
});</script></body>"#;

#[rstest]
#[case::desktop(1200)]
#[case::phone(390)]
fn the_report_draws_zooms_and_explains_in_a_browser(#[case] width: u32) {
    let Some(browser) = browser() else {
        println!(
            "no Chromium on the PATH: the report is not rendered; install the package `chromium` for this test"
        );
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let page = report(folder.path());
    let text = std::fs::read_to_string(&page).expect("the page");
    std::fs::write(&page, text.replace("</body>", PROBE)).expect("a file");
    // Use a frame with the width of a phone, because a window cannot be that narrow.
    let frame = format!(
        r#"<body style="margin:0"><iframe id="page" src="report.html" style="border:0;width:{width}px;height:1500px"></iframe>
<script>const look = setInterval(() => {{
  const seen = document.getElementById("page").contentDocument?.body?.dataset.seen;
  if (seen) {{ document.title = seen; clearInterval(look); }}
}}, 100)</script>"#
    );
    std::fs::write(folder.path().join("frame.html"), frame).expect("a file");
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--allow-file-access-from-files",
            "--enable-logging=stderr",
        ])
        .arg(format!(
            "--user-data-dir={}",
            folder.path().join("profile").display()
        ))
        .args(["--virtual-time-budget=60000", "--dump-dom"])
        .arg(format!("file://{}", folder.path().join("frame.html").display()))
        .output()
        .expect("the browser runs");
    let (dom, log) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(!log.contains("Uncaught"), "{log}");
    let seen = dom
        .split("<title>")
        .nth(1)
        .and_then(|rest| rest.split("</title>").next());
    let seen = seen.unwrap_or_else(|| panic!("the page wrote nothing down: {dom} {log}"));
    let seen: serde_json::Value = serde_json::from_str(&seen.replace("&amp;", "&")).expect("JSON");
    assert_eq!(
        seen["canvases"], 3,
        "load and limit, throttling, capacity: {seen}"
    );
    assert_eq!(seen["overflow"], 0, "the page is wider than the screen: {seen}");
    let told = |key: &str| seen[key].as_str().unwrap_or_default().to_owned();
    assert!(
        told("tip").contains("day ") && told("tip").contains("envelope"),
        "{seen}"
    );
    assert!(
        told("readout").contains("/s") && told("readout").contains("day "),
        "{seen}"
    );
}
