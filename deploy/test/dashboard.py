"""Checks that the Grafana dashboards match their generator and Grafana's published type, that Prometheus parses their queries, and that their metrics exist."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy/monitoring"))
import dashboard  # noqa: E402

CAPACITY, STACK = dashboard.DASHBOARDS
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, **options)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def queries(content):
    for panel in content["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def of_published_type():
    folder = pathlib.Path(os.environ["MODELS_FOLDER"])
    source = folder / "dashboard.ts"
    constants = [f"export const d{index}: Dashboard = {dashboard.text(content)};" for index, content in enumerate(dashboard.DASHBOARDS.values())]
    source.write_text('import type { Dashboard } from "@grafana/schema";\n' + "\n".join(constants))
    options = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--moduleResolution", "nodenext"]
    run(folder / "node_modules/.bin/tsc", *options, source)


def prometheus_parses():
    rules = [{"record": "panel", "expr": expression.replace("$namespace", ".*")} for content in dashboard.DASHBOARDS.values() for _, expression in queries(content)]
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "rules.yml"
        file.write_text(json.dumps({"groups": [{"name": f"panel-{index}", "rules": [rule]} for index, rule in enumerate(rules)]}))
        run("promtool", "check", "rules", file)


def served_by_the_cloud():
    """Returns the names of the metrics that a strict simulated Temporal Cloud serves."""
    cloud = subprocess.Popen(["temporal-capacity", "cloud-simulator"], text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        values = {}
        while "CLOUD_METRICS_API_BASE_URL" not in values or "TEMPORAL_CLOUD_METRICS_API_KEY" not in values:
            line = cloud.stdout.readline()
            assert line, "the simulated cloud ended"
            for name, value in re.findall(r"([A-Z_]+)=['\"]?([^\s'\"]+)", line):
                values[name] = value
        request = urllib.request.Request(values["CLOUD_METRICS_API_BASE_URL"] + "/v1/metrics")
        request.add_header("Authorization", "Bearer " + values["TEMPORAL_CLOUD_METRICS_API_KEY"])
        with NO_PROXY.open(request, timeout=60) as answer:
            return set(re.findall(r"^# TYPE (\w+)", answer.read().decode(), re.M))
    finally:
        cloud.terminate()
        cloud.wait()


# Served only after the first backlog or task, which a server that has just started does not have.
LATER = {"approximate_backlog_count", "task_schedule_to_start_latency_bucket"}


def served_by_the_server():
    """Returns the names of the metrics that a Temporal server serves after a workflow was started."""
    temporal = shutil.which("temporal")
    ports = []
    for _ in range(2):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            ports.append(one.getsockname()[1])
    server = subprocess.Popen([temporal, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(ports[0]),
                               "--metrics-port", str(ports[1]), "--log-level", "never"], stdout=subprocess.DEVNULL)
    try:
        start = [temporal, "workflow", "start", "--address", f"127.0.0.1:{ports[0]}", "--type", "Nothing", "--task-queue", "nobody"]
        wanted = {name for _, expression in queries(dashboard.DASHBOARDS[STACK]) for name in names_of(expression)} - LATER
        for _ in range(120):
            subprocess.run(start, capture_output=True)
            time.sleep(1)
            try:
                with NO_PROXY.open(f"http://127.0.0.1:{ports[1]}/metrics", timeout=10) as answer:
                    found = with_buckets(re.findall(r"^# TYPE (\w+) (\w+)", answer.read().decode(), re.M))
            except OSError:
                continue
            if wanted <= found:
                return found
        raise SystemExit(f"the server does not serve {wanted - found}")
    finally:
        server.terminate()
        server.wait()


def with_buckets(metrics):
    return {name for name, _ in metrics} | {f"{name}_bucket" for name, kind in metrics if kind == "histogram"}


WORDS = {"max", "sum", "by", "increase", "rate", "time", "histogram_quantile", "max_over_time", "or", "vector", "up", "job", "temporal"}


def names_of(expression):
    """Returns the metrics in a query: all words except for functions, labels and quoted text."""
    bare = re.sub(r"\{[^}]*\}|by \([^)]*\)|\[[^]]*\]", " ", expression)
    return set(re.findall(r"\b[a-z]\w+", bare)) - WORDS


def metrics_exist():
    # A test of the worker compares this table with the metrics it serves.
    page = (ROOT / "docs/monitoring.md").read_text()
    own = with_buckets(re.findall(r"^\| `(temporal_\w+)` \| (\w+) \|", page, re.M)) | served_by_the_cloud()
    known = {CAPACITY: own, STACK: served_by_the_server() | LATER}
    for file, content in dashboard.DASHBOARDS.items():
        used = set()
        for title, expression in queries(content):
            names = names_of(expression)
            assert names or expression.startswith("up{"), f"{title}: {expression} names no metric"
            assert names <= known[file], f"{title}: {names - known[file]} do not exist"
            used |= names
        print(f"{file.name}: {len(list(queries(content)))} queries over {len(used)} metrics")


if __name__ == "__main__":
    for file, content in dashboard.DASHBOARDS.items():
        assert file.read_text() == dashboard.text(content), "run `python3 deploy/monitoring/dashboard.py`"
    of_published_type()
    prometheus_parses()
    metrics_exist()
