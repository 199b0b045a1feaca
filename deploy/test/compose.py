"""Reads compose.yaml with Docker Compose for every profile, and the mounted files with the programs that use them."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "deploy/compose"
PROFILES = {
    "app": {"worker", "schedule"},
    "stack": {"postgres", "pgbouncer", "schema", "history", "matching", "frontend", "internal-worker", "namespace", "ui"},
    "monitoring": {"prometheus", "alertmanager", "grafana"},
}


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, **options)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def rendered(folder, profiles):
    options = [f"--profile={profile}" for profile in profiles]
    said = run("docker-compose", *options, "config", "--format=json", cwd=folder)
    return json.loads(said[said.index("{"):])


def autopilot(service, folder):
    assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["user"] == "65532:65532", service
    binary, *arguments = service["command"]
    assert "Usage:" in run(pathlib.Path(binary).name, *arguments, "--help")
    # The settings are read as in the container, with stand-ins for the keys.
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    for name, value in service["environment"].items():
        variables[name] = value.replace("/run/secrets", str(folder / "keys"))
    shown = json.loads(run("temporal-capacity", "settings", "show", "-o", "json", env=variables, cwd=folder))
    shown = {item["name"]: item["value"] for item in shown}
    assert shown["TEMPORAL_ADDRESS"] == "frontend:7233" and shown["DRY_RUN_MODE"] == "true", shown
    known = {name for name in shown} | {f"{name}_FILE" for name in shown}
    assert set(service["environment"]) <= known, set(service["environment"]) - known


with tempfile.TemporaryDirectory() as temporary:
    # Keep the relative paths of the file.
    shutil.copytree(ROOT / "deploy", temporary, dirs_exist_ok=True)
    folder = pathlib.Path(temporary) / "compose"
    shutil.copy(folder / "settings.env.example", folder / "settings.env")
    (folder / "keys").mkdir()
    for key in ("ops-key", "metrics-key"):
        (folder / "keys" / key).write_text("stand-in")
        (folder / "keys" / key).chmod(0o400)
    for profile, services in PROFILES.items():
        assert set(rendered(folder, [profile])["services"]) == services, profile
    whole = rendered(folder, PROFILES)
    assert set(whole["services"]) == set.union(*PROFILES.values())
    for name, service in whole["services"].items():
        for volume in service.get("volumes", []):
            assert volume["type"] != "bind" or pathlib.Path(volume["source"]).exists(), f"{name} mounts {volume['source']}"
    for name in PROFILES["app"]:
        autopilot(whole["services"][name], folder)
    assert run("capacity-worker", "--help").find("--probe") > 0
    assert whole["services"]["worker"]["healthcheck"]["test"][1:] == ["/usr/bin/capacity-worker", "--probe"]

    # As Prometheus sees them, with the rules next to the configuration.
    shutil.copy(folder.parent / "helm/temporal-capacity/files/alerts.yml", folder / "prometheus")
    print(run("promtool", "check", "config", folder / "prometheus/prometheus.yml").strip().replace("\n", ";"))
    print(run("amtool", "check-config", folder / "alertmanager/alertmanager.yml").splitlines()[0])
    # Grafana's provisioning has no published schema, so compare only the parts that the dashboard and the mounts depend on.
    source = yaml.safe_load((folder / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    assert source["type"] == "prometheus" and source["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((folder / "grafana/provisioning/dashboards/dashboards.yaml").read_text())["providers"][0]
    mounts = [volume["target"] for volume in whole["services"]["grafana"]["volumes"]]
    assert provider["options"]["path"] + "/temporal-capacity.json" in mounts
    print(f"compose: {len(whole['services'])} services in {len(PROFILES)} profiles")
