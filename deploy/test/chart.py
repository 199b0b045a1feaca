"""Lints and renders the Helm chart, checks it against Kubernetes' schemas, and reads its capacity.toml with our own binary."""

import json
import os
import pathlib
import re
import subprocess
import tempfile

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/temporal-capacity"
KUBERNETES = "1.34.0"


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, **options)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def template(*arguments):
    command = ["helm", "template", "capacity", CHART, "--namespace", "capacity", "--kube-version", KUBERNETES, *arguments]
    return subprocess.run([str(part) for part in command], text=True, capture_output=True)


def objects(text):
    return [document for document in yaml.safe_load_all(text) if document]


def schema(folder, item):
    """Writes the published schema of an object's kind as one file, with the definitions that it needs."""
    published = pathlib.Path(kubernetes_validate.__file__).parent / f"kubernetes-json-schema/v{KUBERNETES}-local-strict"
    group, _, version = item["apiVersion"].rpartition("/")
    suffix = f"-{group.split('.')[0]}-{version}" if group else f"-{version}"
    name = f"{item['kind'].lower()}{suffix}.json"
    everything = json.loads((published / "_definitions.json").read_text())["$defs"]
    text = (published / name).read_text()
    needed, found = {}, [text]
    while found:
        for reference in re.findall(r"#/\$defs/([A-Za-z0-9.-]+)", found.pop()):
            if reference not in needed:
                needed[reference] = everything[reference]
                found.append(json.dumps(everything[reference]))
    whole = json.dumps({**json.loads(text), "definitions": needed})
    (folder / name).write_text(whole.replace("/api/_definitions.json", "").replace("#/$defs/", "#/definitions/"))


def conforms(name, text):
    """Checks every object against its published schema; an unknown field is an error."""
    custom = {"ServiceMonitor", "PrometheusRule", "Application"}
    with tempfile.TemporaryDirectory() as folder:
        for item in objects(text):
            if item["kind"] not in custom:
                schema(pathlib.Path(folder), item)
        location = f"{folder}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"
        said = run("kubeconform", "-strict", "-summary", "-skip", ",".join(custom), "-schema-location", location, input=text)
    checked = run("node", ROOT / "deploy/test/custom-resources.mjs", input=json.dumps(objects(text)))
    print(f"{name}: {said.strip()} {checked.strip()}".replace("\n", "; "))


def settings_of(pod, config, environment=()):
    """Returns the settings that our binary reads in a container of this pod spec, with stand-ins for mounted secrets."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "capacity.toml").write_text(config)
        variables = {"PATH": os.environ["PATH"], "HOME": folder, **dict(environment)}
        for entry in pod["containers"][0]["env"]:
            value = entry["value"].replace("/etc/capacity", folder)
            if value.startswith("/run/secrets/"):
                value = value.replace("/run/secrets", folder)
                path = pathlib.Path(value)
                path.parent.mkdir(exist_ok=True)
                is_url = entry["name"].startswith(("LEDGER_URL", "SLACK"))
                path.write_text("postgres://capacity:secret@db.example.com/capacity" if "LEDGER" in value
                                else "https://hooks.slack.com/services/x" if is_url else "stand-in")
                path.chmod(0o440)
            variables[entry["name"]] = value
        said = run("temporal-capacity", "settings", "show", "-o", "json", env=variables, cwd=folder)
        return json.loads(said)


def same(wanted, shown):
    if isinstance(wanted, list):
        wanted = ",".join(wanted)
    shown = shown if isinstance(shown, str) else json.dumps(shown)
    wanted = wanted if isinstance(wanted, str) else json.dumps(wanted)
    return wanted.replace(" ", "") == shown.strip('"').replace(" ", "")


def restricted(pod, name):
    """Checks the requirements of the `restricted` pod security standard."""
    context = pod["securityContext"]
    assert context["runAsNonRoot"] and context["runAsUser"] == 65532, name
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
    assert pod["automountServiceAccountToken"] is False, name
    for container in pod["containers"]:
        own = container["securityContext"]
        assert own == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}, name


def accepts(container):
    """Checks flags by appending `--help`: a valid command shows its help, and an unknown flag is a usage error."""
    binary = pathlib.Path(container["command"][0]).name
    assert "Usage:" in run(binary, *container["args"], "--help")


def pods(rendered):
    for item in rendered:
        if item["kind"] == "Pod":
            yield item["metadata"]["name"], item["spec"]
        elif item["kind"] in ("Deployment", "Job"):
            yield item["metadata"]["name"], item["spec"]["template"]["spec"]


def catalog(shown):
    """Checks that the schema contains every setting, either in capacity.toml or in the Secret, but not in both."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    plain = set(schema["properties"]["settings"]["properties"])
    secret = {name.lower() for name in schema["$defs"]["secret"]["enum"]}
    assert not plain & secret, plain & secret
    assert plain | secret == set(shown), (plain | secret) ^ set(shown)


def accepted():
    for values in sorted((CHART / "ci").glob("*-values.yaml")):
        run("helm", "lint", "--strict", CHART, "--values", values)
        done = template("--values", values)
        assert done.returncode == 0, done.stderr
        conforms(values.name, done.stdout)
        rendered = objects(done.stdout)
        of_kind = lambda kind: [item for item in rendered if item["kind"] == kind]
        config = next(item for item in of_kind("ConfigMap") if "capacity.toml" in item["data"])["data"]["capacity.toml"]
        for name, pod in pods(rendered):
            restricted(pod, name)
            accepts(pod["containers"][0])
            shown = settings_of(pod, config)
            shown = {item["name"].lower(): item for item in shown}
            catalog(shown)
            for setting, wanted in yaml.safe_load(values.read_text())["settings"].items():
                got = shown[setting]["value"]
                assert same(wanted, got), f"{values.name}: {name} reads {setting} = {got!r}, not {wanted!r}"
        # Pods that must not be selected by the workers' Service or disruption budget.
        selector = of_kind("Deployment")[0]["spec"]["selector"]["matchLabels"]
        for job in of_kind("Job") + of_kind("Pod"):
            labels = (job["spec"].get("template") or job)["metadata"]["labels"]
            assert not selector.items() <= labels.items(), f"the workers' selector matches {job['metadata']['name']}"


REFUSED = [
    # (arguments in addition to the minimal values, expected message)
    (["--set", "replicaCount=0"], "replicaCount"),
    (["--set", "replicas=3"], "replicas"),
    (["--set", "settings.dry_run=true"], "dry_run"),
    (["--set", "settings.ledger_url=x"], "ledger_url"),
    (["--set", "settings.policy=best"], "policy"),
    (["--set", "settings.dry_run_mode=maybe"], "dry_run_mode"),
    (["--set", "settings.temporal_address=https://x"], "temporal_address"),
    (["--set", "image.digest=latest"], "digest"),
    (["--set", "settings.temporal_address="], "settings.temporal_address is not set. Set it to"),
    (["--set", "settings.temporal_namespace="], "settings.temporal_namespace is not set. Set it to"),
    (["--set", "secret.existing="], "no API keys. Set secret.existing"),
    (["--set", "secret.values.TEMPORAL_API_KEY=x"], "secret.existing and secret.values are both set. Remove"),
    (["--set", "secret.keys={TEMPORAL_API_KEY}"], "the Secret lacks TEMPORAL_CLOUD_OPS_API_KEY. Add it"),
    (["--set", "secret.keys={TEMPORAL_CLOUD_OPS_API_KEY}"], "the Secret lacks TEMPORAL_CLOUD_METRICS_API_KEY. Add it"),
    (["--set", "clientCertificate.existingSecret=c"], "are both set. Use one of them to authenticate to Temporal"),
    (["--set", "ledger.sqlite.enabled=true"], "ledger.sqlite works with one worker, and replicaCount is 2. Set replicaCount to 1"),
    (
        ["--set", "ledger.sqlite.enabled=true,replicaCount=1", "--set", "secret.keys={TEMPORAL_CLOUD_OPS_API_KEY,TEMPORAL_CLOUD_METRICS_API_KEY,LEDGER_URL}"],
        "Use one ledger",
    ),
    (["--set", "settings.policy=break-even"], "settings.policy is break-even, which needs a ledger. Put LEDGER_URL"),
]


def derived():
    """Checks that the rendered manifests are up to date with the chart, and that the chart accepts the Application's values."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "temporal-capacity.yaml"
        run(ROOT / "deploy/kubernetes/render", file)
        written = (ROOT / "deploy/kubernetes/temporal-capacity.yaml").read_text()
        assert file.read_text() == written, "run deploy/kubernetes/render"
    conforms("kubernetes", written)
    application = (ROOT / "deploy/argocd/application.yaml").read_text()
    conforms("argocd", application)
    source = yaml.safe_load(application)["spec"]["source"]
    assert (ROOT / source["path"]).samefile(CHART)
    assert source["targetRevision"] == "v" + yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(source["helm"]["valuesObject"], file)
        file.flush()
        done = template("--values", file.name)
        assert done.returncode == 0, done.stderr


def misspelled():
    """Checks that the schemas reject values that Helm itself accepts."""
    minimal = template("--values", CHART / "ci/minimal-values.yaml").stdout
    for right, wrong in [("replicas:", "replica:"), ("httpGet:", "http:"), ("podSelector:", "podSelectors:")]:
        assert right in minimal
        try:
            conforms("misspelled", minimal.replace(right, wrong))
        except SystemExit:
            continue
        raise SystemExit(f"`{wrong}` is accepted")


def refused():
    minimal = CHART / "ci/minimal-values.yaml"
    for arguments, wanted in REFUSED:
        done = template("--values", minimal, *arguments)
        assert done.returncode, f"{arguments} is accepted"
        assert wanted in done.stderr, f"{arguments}: {done.stderr}"
    print(f"{len(REFUSED)} kinds of wrong values are refused")


if __name__ == "__main__":
    run("helm", "lint", "--strict", CHART)
    accepted()
    derived()
    misspelled()
    refused()
