"""Checks the systemd units with systemd-analyze (exposure of at most 2.0), and their flags with our binaries."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNITS = ROOT / "deploy/systemd"


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, **options)
    said = done.stdout + done.stderr
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{said}")
    return said


def accepts(command):
    """Checks flags by appending `--help`: a valid command shows its help, and an unknown flag is a usage error."""
    binary, *arguments = command.split()
    assert "Usage:" in run(pathlib.Path(binary).name, *arguments, "--help")


with tempfile.TemporaryDirectory() as folder:
    copy = pathlib.Path(folder)
    shutil.copytree(UNITS, copy, dirs_exist_ok=True)
    # An empty entry at the end stands for the default paths.
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{copy}:"}
    for unit in sorted(copy.glob("*.service")):
        text = unit.read_text()
        command = re.search(r"^ExecStart=(.*)$", text, re.M).group(1)
        accepts(command)
        # The binaries are not installed here.
        unit.write_text(text.replace(command, "/bin/true"))
        said = run("systemd-analyze", "verify", "--man=no", unit, env=environment)
        assert not said.strip(), said
        said = run("systemd-analyze", "security", "--offline=true", "--threshold=20", unit, env=environment)
        print(said.strip().splitlines()[-1].strip("→ "))
