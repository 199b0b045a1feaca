"""The Grafana dashboard: as its generator writes it, of Grafana's published type, with queries that Prometheus parses and metrics that exist."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy/monitoring"))
import dashboard  # noqa: E402


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, **options)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def queries():
    for panel in dashboard.dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def of_published_type():
    folder = pathlib.Path(os.environ["MODELS_FOLDER"])
    source = folder / "dashboard.ts"
    source.write_text(f'import type {{ Dashboard }} from "@grafana/schema";\nexport const dashboard: Dashboard = {dashboard.text()};\n')
    options = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--moduleResolution", "nodenext"]
    run(folder / "node_modules/.bin/tsc", *options, source)


def prometheus_parses():
    rules = [{"record": "panel", "expr": expression.replace("$namespace", ".*")} for _, expression in queries()]
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "rules.yml"
        file.write_text(json.dumps({"groups": [{"name": f"panel-{index}", "rules": [rule]} for index, rule in enumerate(rules)]}))
        run("promtool", "check", "rules", file)


def served_by_the_cloud():
    """Names of the metrics that a strict simulated Temporal Cloud serves."""
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
        without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with without_proxy.open(request, timeout=60) as answer:
            return set(re.findall(r"^# TYPE (\w+)", answer.read().decode(), re.M))
    finally:
        cloud.terminate()
        cloud.wait()


def metrics_exist():
    # A test of the worker compares this table with what it serves.
    page = (ROOT / "docs/monitoring.md").read_text()
    known = {name for name, kind in re.findall(r"^\| `(temporal_\w+)` \| (\w+) \|", page, re.M)}
    known |= {f"{name}_bucket" for name, kind in re.findall(r"^\| `(temporal_\w+)` \| (\w+) \|", page, re.M) if kind == "histogram"}
    known |= served_by_the_cloud()
    used = set()
    for title, expression in queries():
        names = set(re.findall(r"\btemporal_(?:capacity|worker_kit|cloud|workflow|activity)_\w+", expression))
        assert names, f"{title}: {expression} names no metric"
        assert names <= known, f"{title}: {names - known} do not exist"
        used |= names
    return used


if __name__ == "__main__":
    assert dashboard.FILE.read_text() == dashboard.text(), "run `python3 deploy/monitoring/dashboard.py`"
    of_published_type()
    prometheus_parses()
    print(f"dashboard: {len(list(queries()))} queries over {len(metrics_exist())} metrics")
