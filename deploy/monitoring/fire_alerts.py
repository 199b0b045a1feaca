#!/usr/bin/env python3
"""Makes every alert fire once: a real worker on a simulated cloud, scraped by a real Prometheus, which sends to a real Alertmanager.

    deploy/monitoring/fire_alerts.py        needs prometheus, alertmanager, temporal and our programs on PATH

Uses the rules of the chart, with shorter waits: an hour becomes ten seconds. `.ci/full` runs this.
"""

import contextlib
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy/helm/temporal-capacity/files/alerts.yml"
# Timeout of each wait: a busy machine is slow, and a worker queries its controller only once per minute.
BOUND = 300
SHORTER = [
    (r"for: \w+", "for: 2s"),
    (r"> 7200", "> 15"),
    (r"\[30m\]\)\) > 10", "[5m])) > 0"),
    (r"\[30m\]", "[5m]"),
    (r"\[1h\]", "[10s]"),
]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Hook(http.server.BaseHTTPRequestHandler):
    """The webhook that Alertmanager delivers to."""

    firing = {}

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for alert in body["alerts"]:
            if alert["status"] == "firing":
                self.firing.setdefault(alert["labels"]["alertname"], alert)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


class World:
    def __init__(self, folder):
        self.folder = folder
        self.processes = []
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "NO_PROXY": "127.0.0.1"}

    def start(self, name, *command, **options):
        log = open(self.folder / f"{name}.log", "w")
        stdout = options.pop("stdout", log)
        process = subprocess.Popen([str(part) for part in command], stdout=stdout, stderr=log, text=True, cwd=self.folder,
                                   env=self.environment, **options)
        self.processes.append(process)
        return process

    def stop(self, process, how=signal.SIGKILL):
        process.send_signal(how)
        process.wait()
        self.processes.remove(process)

    def run(self, *command):
        done = subprocess.run(command, text=True, capture_output=True, env=self.environment, cwd=self.folder, timeout=BOUND)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def until(self, what, is_so):
        begun = time.monotonic()
        while not is_so():
            ended = [process.args[0] for process in self.processes if process.poll() is not None]
            if ended or time.monotonic() - begun > BOUND:
                for log in sorted(self.folder.glob("*.log")):
                    sys.stderr.write(f"== {log.name}\n{log.read_text()[-1500:]}\n")
                raise SystemExit(f"not {what}; ended: {ended}; delivered: {sorted(Hook.firing)}")
            time.sleep(0.5)

    def fires(self, alert):
        begun = time.monotonic()
        self.until(f"fired: {alert}", lambda: alert in Hook.firing)
        print(f"{alert}: delivered after {time.monotonic() - begun:.0f} s", flush=True)


def monitoring(world):
    """Starts Prometheus and Alertmanager; returns the port of the worker that is scraped."""
    hook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    worker, prometheus, alertmanager = free_port(), free_port(), free_port()
    text = RULES.read_text()
    for long, short in SHORTER:
        text, count = re.subn(long, short, text)
        assert count, f"{long} is not in the rules"
    (world.folder / "alerts.yml").write_text(text)
    (world.folder / "prometheus.yml").write_text(json.dumps({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]},
        "scrape_configs": [{"job_name": "temporal-capacity", "static_configs": [{"targets": [f"127.0.0.1:{worker}"]}]}],
    }))
    (world.folder / "alertmanager.yml").write_text(json.dumps({
        "route": {"receiver": "hook", "group_by": ["alertname"], "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"},
        "receivers": [{"name": "hook", "webhook_configs": [{"url": f"http://127.0.0.1:{hook.server_port}/"}]}],
    }))
    program = shutil.which("alertmanager") or shutil.which("prometheus-alertmanager")
    assert program, "alertmanager is missing: apt-get install prometheus-alertmanager"
    world.start("alertmanager", program, "--config.file=alertmanager.yml", "--storage.path=alertmanager", "--cluster.listen-address=",
                f"--web.listen-address=127.0.0.1:{alertmanager}")
    world.start("prometheus", "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--rules.alert.resend-delay=5s",
                f"--web.listen-address=127.0.0.1:{prometheus}")
    return worker


def temporal_and_cloud(world):
    port = free_port()
    world.start("temporal", "temporal", "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(port), "--log-level", "error")
    # Every namespace needs a change.
    cloud = world.start("cloud", "temporal-capacity", "cloud-simulator", "--namespaces", "60", "--wanting-change", "100",
                        stdout=subprocess.PIPE)
    wanted = {"CLOUD_OPS_API_BASE_URL", "CLOUD_METRICS_API_BASE_URL", "TEMPORAL_CLOUD_OPS_API_KEY", "TEMPORAL_CLOUD_METRICS_API_KEY", "PROMETHEUS_URL"}
    while not wanted <= set(world.environment):
        line = cloud.stdout.readline()
        assert line, "the simulated cloud ended"
        for name, value in re.findall(r"([A-Z_]+)=['\"]?([^\s'\"]+)", line):
            if name in wanted:
                world.environment[name] = value
    threading.Thread(target=cloud.stdout.read, daemon=True).start()
    world.environment.update(TEMPORAL_ADDRESS=f"127.0.0.1:{port}", TEMPORAL_NAMESPACE="default", MAX_CONCURRENT_CHANGES="1")
    health = ["temporal", "--address", f"127.0.0.1:{port}", "operator", "cluster", "health"]
    world.until("serving: Temporal", lambda: subprocess.run(health, capture_output=True).returncode == 0)


def main():
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ending:
        world = World(pathlib.Path(folder))
        ending.callback(lambda: [world.stop(process) for process in list(world.processes)])
        port = monitoring(world)
        world.fires("CapacityWorkerAbsent")

        temporal_and_cloud(world)
        worker = lambda: world.start("worker", "capacity-worker", "--listen", f"127.0.0.1:{port}", "--grace", "1")
        # An hour of data, so that sixty changes are queued.
        world.environment["METRICS_SOURCE"] = "prometheus"
        first = worker()
        world.fires("CapacityNotEvaluated")
        world.run("temporal-capacity", "trigger")
        world.fires("CapacityChangesQueued")
        world.run("capacity-schedule", "pause", "--reason", "a drill")
        # The controller reads pauses only when it evaluates.
        world.run("temporal-capacity", "trigger")
        world.fires("CapacityPaused")
        world.run("temporal", "workflow", "start", "--address", world.environment["TEMPORAL_ADDRESS"], "--type", "NoSuchWorkflow",
                  "--task-queue", "capacity-management-task-queue", "--workflow-id", "no-such-workflow")
        world.fires("CapacityWorkflowTasksFailing")

        # Revoke the metrics key, which evaluations and the sampler use.
        world.stop(first)
        del world.environment["METRICS_SOURCE"]
        world.environment.update(TEMPORAL_CLOUD_METRICS_API_KEY="revoked", LEDGER_URL="ledger.db")
        worker()
        world.run("temporal-capacity", "trigger")
        world.fires("CapacityMetricsUnavailable")
        world.fires("CapacitySamplesFailing")

        alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
        assert set(alerts) == set(Hook.firing), set(alerts) ^ set(Hook.firing)
        for alert in Hook.firing.values():
            assert "docs/runbooks.md#" in alert["annotations"]["runbook_url"], alert
        print(f"{len(alerts)} alerts were delivered, each with its runbook")


if __name__ == "__main__":
    main()
