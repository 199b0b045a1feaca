//! Tests of visibility in a real single-node `OpenSearch`, a Java process from Maven artifacts.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use temporal_stack::search;
use temporal_stack::settings::Search;

use crate::harness::{Running, found, healthy, noted};

const URL: &str = "http://127.86.0.9:9200";

/// A node that ends with the test.
struct Node {
    child: Child,
    home: PathBuf,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    /// Starts a node with the data in a folder and waits until it responds.
    fn start(home: &Path) -> Self {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/search");
        let class_path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("search-class-path");
        if !class_path.is_file() {
            let resolved = Command::new("mvn")
                .args(["-q", "-B", "dependency:build-classpath"])
                .arg(format!("-Dmdep.outputFile={}", class_path.display()))
                .current_dir(&sources)
                .status();
            assert!(
                resolved.is_ok_and(|status| status.success()),
                "Maven resolves OpenSearch: `apt-get install maven default-jdk-headless`"
            );
        }
        let class_path = std::fs::read_to_string(&class_path).expect("resolved");
        let child = Command::new("java")
            .args(["-Xmx512m", "-cp", class_path.trim_end()])
            .arg(sources.join("SearchNode.java"))
            .arg(home)
            .args(["127.86.0.9", "9200"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("java runs");
        let mut node = Self {
            child,
            home: home.to_owned(),
        };
        let begun = Instant::now();
        while curl("GET", "", None).is_none() {
            assert!(
                node.child.try_wait().is_ok_and(|ended| ended.is_none()),
                "OpenSearch has ended: see {}",
                node.home.join("logs").display()
            );
            assert!(
                begun.elapsed() < Duration::from_mins(4),
                "OpenSearch does not respond"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        node
    }
}

fn curl(method: &str, path: &str, body: Option<&str>) -> Option<String> {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--fail", "--max-time", "30", "--request", method])
        .args(["--header", "content-type: application/json"]);
    if let Some(body) = body {
        command.args(["--data-binary", body]);
    }
    let output = command.arg(format!("{URL}/{path}")).output().expect("curl runs");
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Adds a document to an index, which the cluster creates if permitted.
fn add(index: &str) -> Option<String> {
    curl("POST", &format!("{index}/_doc"), Some("{}"))
}

fn only_our_index_is_not_created(running: &Running) {
    let automatic = |value: &str| {
        let body = format!(r#"{{"persistent":{{"action.auto_create_index":"{value}"}}}}"#);
        curl("PUT", "_cluster/settings", Some(&body)).expect("set");
    };
    assert!(add("others").is_some(), "indexes of others are created as before");
    automatic("-secret*,+temporal*,+logs-*");
    noted(running, "the cluster creates it automatically");
    let said = running.run(&["schema"]);
    assert!(
        said.contains("to -temporal_visibility_v1,-secret*,+temporal*,+logs-* (persistent)"),
        "{said}"
    );
    assert!(
        !running.run(&["schema"]).contains("action.auto_create_index"),
        "an excluded index needs no further change"
    );
    healthy(running);
    assert!(
        add("logs-1").is_some() && add("temporal-of-others").is_some(),
        "indexes that were allowed are still created"
    );
    assert!(
        add("secret-1").is_none() && add("unknown").is_none(),
        "indexes that were not allowed are still not created"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a whole stack and OpenSearch: .ci/full"]
async fn visibility_works_in_opensearch_and_is_checked() {
    let running = Running::new("127.86", |text| {
        text.replace("[search]", &format!("[search]\nurl = \"{URL}\""))
    });
    // The cluster is not running yet.
    let said = running.up_refused(&["--without-autopilot"]);
    assert!(
        said.contains(&format!("search.url = \"{URL}\"")) && said.contains("127.86.0.9"),
        "{said}"
    );
    let home = running.folder.join("search");
    let node = Node::start(&home);
    let said = running.up(&["--without-autopilot"]);
    let steps = [
        "setting action.auto_create_index to -temporal_visibility_v1,+* (persistent)",
        "setting up the template temporal_visibility_v1_template",
        "creating the index temporal_visibility_v1",
    ];
    let places: Vec<Option<usize>> = steps.iter().map(|step| said.find(step)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{said}");
    healthy(&running);
    let settings = Search {
        url: Some(URL.to_owned()),
        ..Search::default()
    };
    let look = || search::look(&running.place, &settings).expect("it answers");
    let there = look();
    assert!(there.records > 0, "the doctor's probe is in the index: {there:?}");
    assert_eq!(
        there
            .index
            .expect("there")
            .get("CapacityNamespace")
            .map(String::as_str),
        Some("keyword"),
        "a custom search attribute is a field of the index"
    );
    let again = running.up(&["--without-autopilot"]);
    assert!(
        steps.iter().all(|step| !again.contains(step)),
        "nothing to set up: {again}"
    );

    // Broken on purpose.
    only_our_index_is_not_created(&running);
    curl("DELETE", "_template/temporal_visibility_v1_template", None).expect("deleted");
    noted(&running, "its template is missing or has a different version");
    running.run(&["schema"]);
    healthy(&running);
    curl("DELETE", "temporal_visibility_v1", None).expect("deleted");
    assert!(
        add("temporal_visibility_v1").is_none(),
        "the server would write into an index without types"
    );
    found(&running, "search index temporal_visibility_v1: it does not exist");
    running.run(&["schema"]);
    healthy(&running);
    let index = look().index.expect("created");
    assert!(
        index.contains_key("CapacityNamespace"),
        "the template adds it to a new index: {index:?}"
    );

    // An index whose fields have the wrong types is rejected and left unchanged.
    curl("DELETE", "temporal_visibility_v1", None).expect("deleted");
    curl("DELETE", "_template/temporal_visibility_v1_template", None).expect("deleted");
    curl(
        "PUT",
        "temporal_visibility_v1",
        Some(r#"{"mappings":{"properties":{"WorkflowId":{"type":"text"}}}}"#),
    )
    .expect("created");
    found(&running, "WorkflowId is text instead of keyword");
    let said = running.refused(&["schema"]);
    assert!(
        said.contains("WorkflowId is text instead of keyword") && said.contains("nothing was changed"),
        "{said}"
    );
    curl("DELETE", "temporal_visibility_v1", None).expect("deleted");
    running.run(&["schema"]);

    // The node dies and restarts. Records written in between are found afterwards.
    drop(node);
    found(&running, "search cluster: ");
    let _node = Node::start(&home);
    healthy(&running);
}
