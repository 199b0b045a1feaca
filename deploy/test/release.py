"""Checks the archive of scripts/release: its checksums, programs, shell completions and bill of materials."""

import json
import pathlib
import subprocess
import tempfile

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, **options)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


run(ROOT / "scripts/release", "--binaries", "target/debug")
dist = ROOT / "target/dist"
(archive,) = dist.glob("*.tar.gz")
run("sha256sum", "--check", f"{archive.name}.sha256", cwd=dist)
with tempfile.TemporaryDirectory() as folder:
    run("tar", "--extract", "--gzip", "--file", archive, "--directory", folder)
    (content,) = pathlib.Path(folder).iterdir()
    run("sha256sum", "--check", "--quiet", "SHA256SUMS", cwd=content)
    for program in ("temporal-capacity", "capacity-worker", "capacity-schedule"):
        assert run(content / "bin" / program, "--version").startswith(f"{program} 0."), program
        text = (content / f"sbom/{program}.cdx.json").read_text()
        problem = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
        assert problem is None, problem
        assert {"tokio", "temporalio-sdk"} <= {it["name"] for it in json.loads(text)["components"]}, program
    run("bash", "-n", content / "completions/temporal-capacity.bash")
    for path in ("systemd/temporal-capacity-worker.service", "helm/temporal-capacity/Chart.yaml", "LICENSE"):
        assert (content / path).is_file(), path
print(f"release: {archive.name}, {archive.stat().st_size // 1000} kB of debug builds")
