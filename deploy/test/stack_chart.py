"""Lints and renders the chart of the self-hosted stack, checks it against Kubernetes' schemas, and reads its stack.toml with our own binary. `helm/test_on_cluster`
runs it with the real server."""

import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import textwrap

import yaml

from chart import KUBERNETES, ROOT, conforms, objects, pods, restricted, run

CHART = ROOT / "deploy/helm/temporal-stack"
PINNED = {line.split(" = ")[0]: line.split('"')[1] for line in (ROOT / "deploy/stack/stack.toml").read_text().splitlines() if line.startswith(("version", "ui_version"))}


def template(*arguments):
    command = ["helm", "template", "stack", CHART, "--namespace", "temporal", "--kube-version", KUBERNETES, *arguments]
    return subprocess.run([str(part) for part in command], text=True, capture_output=True)


def accepted():
    run("helm", "lint", "--strict", CHART, "--values", CHART / "ci/trial-values.yaml")
    for values in sorted((CHART / "ci").glob("*-values.yaml")):
        done = template("--values", values)
        assert done.returncode == 0, done.stderr
        conforms(f"temporal-stack {values.name}", done.stdout)
        rendered = objects(done.stdout)
        for name, pod in pods(rendered):
            restricted(pod, name)
        for item in rendered:
            if item["kind"] == "StatefulSet":
                restricted(item["spec"]["template"]["spec"], item["metadata"]["name"])
        config = next(item for item in rendered if item["kind"] == "ConfigMap")["data"]
        assert "enable-template" in config["server.yaml"][:1000], "the server would not fill in the password"
        json.dumps(yaml.safe_load(config["dynamic.yaml"]))
        secrets = {name for item in rendered if item["kind"] == "Secret" for name in [item["metadata"]["name"]]}
        used = {volume["secret"]["secretName"] for name, pod in pods(rendered) for volume in pod["volumes"] if "secret" in volume}
        given = yaml.safe_load(values.read_text())
        existing = {given.get("tls", {}).get("existingSecret"), given.get("database", {}).get("tls", {}).get("existingSecret")}
        assert used <= secrets | existing, f"{values.name}: nobody creates {used - secrets - existing}"
        # There is no server, so a valid stack.toml fails at the connection, and an invalid one fails earlier.
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(config["stack.toml"] + "\n[unknown]\n")
            file.flush()
            said = subprocess.run(["temporal-stack", "apply", "--environment", "--settings", file.name], capture_output=True, text=True).stderr
            assert "unknown field `unknown`" in said, said
    versions = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"], yaml.safe_load((CHART / "values.yaml").read_text())["images"]["uiTag"]
    assert versions == (PINNED["version"], PINNED["ui_version"]), f"{versions} are not the versions of stack.toml"


REFUSED = [
    # (arguments in addition to the trial's values, expected message)
    (["--set", "server.replicas.history=0"], "history"),
    (["--set", "server.replica.history=2"], "replica"),
    (["--set", "server.historyShards=0"], "historyShards"),
    (["--set", "server.grace=5"], "grace"),
    (["--set", "images.postgresql=postgres"], "postgresql"),
    (["--set", "database.tls.mode=on"], "mode"),
    (["--set", "database.host=https://x"], "host"),
    (["--set", "server.archival.history=file:///archive"], "history"),
    (["--set", "namespaces[0].name=x"], "name"),
    (["--set", "namespaces[0].name=orders,namespaces[0].search_attributes.Size=Number"], "Size"),
    (["--set", "database.host=x"], "postgresql.enabled and database.host are both set. Clear"),
    (["--set", "postgresql.enabled=false"], "no database. Set database.host"),
    (["--set", "database.tls.mode=require"], "the chart's PostgreSQL has no TLS. Set"),
    (["--set", "postgresql.enabled=false,database.host=x,database.tls.mode=verify-full"], "needs an authority. Set database.tls.existingSecret"),
    (["--set", "database.user=other"], "the chart's PostgreSQL has the user temporal. Leave"),
    (["--set", "database.port=5433"], "the chart's PostgreSQL listens on 5432. Leave"),
    (["--set", "database.visibilityName=temporal"], "are the same. Temporal needs two databases"),
    (["--set", "namespaces[0].name=orders,namespaces[0].archive_history=true"], "the namespace orders archives histories. Set"),
    (["--set", "server.archival.history=s3://archive/history"], "Set server.archival.s3Region"),
    (["--set", "server.replicas.history=2"], "is 1 and history has more. Use at least 2"),
]


def refused():
    for arguments, wanted in REFUSED:
        done = template("--values", CHART / "ci/trial-values.yaml", *arguments)
        assert done.returncode, f"{arguments} is accepted"
        assert wanted in done.stderr, f"{arguments}: {done.stderr}"
    print(f"temporal-stack: {len(REFUSED)} kinds of wrong values are refused")


def printed_notes(values):
    """Returns the notes that an install prints. Helm needs a cluster for that, so they are rendered as the text of an object here."""
    with tempfile.TemporaryDirectory() as folder:
        chart = shutil.copytree(CHART, pathlib.Path(folder) / "temporal-stack")
        text = (chart / "templates/NOTES.txt").read_text()
        (chart / "templates/notes.yaml").write_text('{{- define "notes" }}' + text + '{{- end }}\nnotes: {{ include "notes" . | toJson }}\n')
        arguments = ["--namespace", "temporal", "--kube-version", KUBERNETES, "--values", values, "--show-only", "templates/notes.yaml"]
        return yaml.safe_load(run("helm", "template", "stack", chart, *arguments))["notes"]


def notes():
    """Checks that the printed steps are numbered, and that the autopilot's chart accepts the values in them."""
    for values in sorted((CHART / "ci").glob("*-values.yaml")):
        printed = printed_notes(values)
        steps = [int(number) for number in re.findall(r"^(\d+)\. ", printed, re.MULTILINE)]
        given = yaml.safe_load(values.read_text())
        is_on = [given.get("namespaces") != [], given.get("ui", {}).get("enabled", True), given.get("tls", {}).get("enabled", True), True]
        assert steps == list(range(1, sum(is_on) + 1)), f"{values.name}: {steps}"
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(textwrap.dedent(re.search(r"with these values:\n((?:     .*\n)+)", printed)[1]))
            file.flush()
            run("helm", "template", "capacity", ROOT / "deploy/helm/temporal-capacity", "--kube-version", KUBERNETES, "--values", file.name)
    print("temporal-stack: the autopilot accepts the values of NOTES.txt")


def schema_job(*arguments):
    done = template("--values", CHART / "ci/trial-values.yaml", *arguments)
    assert done.returncode == 0, done.stderr
    [job] = [item for item in objects(done.stdout) if item["kind"] == "Job" and "-schema" in item["metadata"]["name"]]
    return job["metadata"]["name"], job["spec"]["template"]


def changed():
    """Checks that the name of the Job for the chart's own PostgreSQL changes if and only if its pod changes, because the pod of an existing Job cannot change."""
    name, pod = schema_job()
    for value in ["images.serverTag=1.29.2", "images.registry=example.com", "images.pullPolicy=Always", "imagePullSecrets[0].name=x", "database.name=other",
                  "database.createDatabases=false", "database.existingSecret=x", "nodeSelector.x=y", "tolerations[0].key=x", "serviceAccountName=x"]:
        other, changed_pod = schema_job("--set", value)
        assert changed_pod != pod and other != name, f"{value}: {other} with another pod"
    assert schema_job("--set", "server.logLevel=warn,server.replicas.worker=1,pgbouncer.poolSize=30") == (name, pod)
    print("temporal-stack: the schema's Job gets a new name when its pod changes")


def derived():
    """Checks that the manifests are up to date with the chart, and that the chart accepts the Application's values."""
    with tempfile.TemporaryDirectory() as folder:
        run(ROOT / "deploy/kubernetes/render", pathlib.Path(folder) / "temporal-capacity.yaml")
        written = (ROOT / "deploy/kubernetes/temporal-stack.yaml").read_text()
        assert (pathlib.Path(folder) / "temporal-stack.yaml").read_text() == written, "run deploy/kubernetes/render"
    conforms("kubernetes, stack", written)
    application = (ROOT / "deploy/argocd/stack.yaml").read_text()
    conforms("argocd, stack", application)
    application = yaml.safe_load(application)
    autopilot = yaml.safe_load((ROOT / "deploy/argocd/application.yaml").read_text())
    wave = lambda item: int(item["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])
    assert wave(application) < wave(autopilot), "the autopilot comes before its server"
    source = application["spec"]["source"]
    assert (ROOT / source["path"]).samefile(CHART)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(source["helm"]["valuesObject"], file)
        file.flush()
        done = template("--values", file.name)
    assert done.returncode == 0, done.stderr
    # Argo CD waits for each wave: PgBouncer, then the roles, then the UI. The schema hook runs before them, the namespaces hook after them.
    waves = {item["metadata"]["name"]: item["metadata"].get("annotations", {}).get("argocd.argoproj.io/sync-wave") for item in objects(done.stdout)}
    assert waves["stack-pgbouncer"] < waves["stack-history"] < waves["stack-ui"], waves
    hooks = {item["metadata"]["name"]: item["metadata"].get("annotations", {}).get("helm.sh/hook", "") for item in objects(done.stdout)}
    assert "pre-install" in hooks["stack-schema"] and "post-install" in hooks["stack-namespaces"], hooks


if __name__ == "__main__":
    accepted()
    refused()
    notes()
    changed()
    derived()
