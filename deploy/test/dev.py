"""Checks that deploy/dev/install.sh reports exactly the missing packages."""

import pathlib
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ["bash", "cc", "git", "curl", "npm", "buildah", "cargo", "go"]


def check(without):
    """Runs `--check` with a PATH that contains all programs except one."""
    with tempfile.TemporaryDirectory() as folder:
        for program in PROGRAMS:
            if program != without:
                (pathlib.Path(folder) / program).symlink_to("/bin/true" if program != "bash" else shutil.which("bash"))
        (pathlib.Path(folder) / "python3").symlink_to("/bin/true")
        command = [shutil.which("bash"), str(ROOT / "deploy/dev/install.sh"), "--check"]
        done = subprocess.run(command, env={"PATH": folder}, text=True, capture_output=True)
        return done.returncode, done.stdout.strip()


assert check("") == (0, "no packages are missing"), check("")
assert check("cc") == (1, "missing packages: build-essential"), check("cc")
assert check("npm") == (1, "missing packages: npm"), check("npm")
code, said = check("cargo")
assert code == 1 and said == "no packages are missing\ninstall Rust: https://rustup.rs", said
unknown = subprocess.run([ROOT / "deploy/dev/install.sh", "--all"], text=True, capture_output=True)
assert unknown.returncode == 2 and "unknown argument --all: use --check or no argument" in unknown.stderr
print("install.sh: reports missing packages")
