"""Checks render.yaml against the documented fields it uses, because Render's published schema is not available here."""

import pathlib
import shlex
import subprocess

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVICE = {"type", "name", "runtime", "dockerfilePath", "dockerContext", "dockerCommand", "preDeployCommand", "plan", "region", "numInstances",
           "maxShutdownDelaySeconds", "autoDeployTrigger", "envVars"}
DATABASE = {"name", "plan", "region", "databaseName", "user", "postgresMajorVersion", "ipAllowList"}


def settings():
    """Returns the settings described in docs/settings.md."""
    return {line.split("`")[1] for line in (ROOT / "docs/settings.md").read_text().splitlines() if line.startswith("| `")}


def main():
    blueprint = yaml.safe_load((ROOT / "render.yaml").read_text())
    assert set(blueprint) == {"services", "databases"}, set(blueprint)
    names = {database["name"] for database in blueprint["databases"]}
    for database in blueprint["databases"]:
        assert set(database) <= DATABASE, set(database) - DATABASE
    for service in blueprint["services"]:
        assert set(service) <= SERVICE, set(service) - SERVICE
        assert service["type"] == "worker" and service["runtime"] == "docker"
        assert (ROOT / service["dockerfilePath"]).is_file() and (ROOT / service["dockerContext"]).is_dir()
        for command in [service["dockerCommand"], service["preDeployCommand"]]:
            binary, *arguments = shlex.split(command)
            assert "Usage:" in subprocess.run([pathlib.Path(binary).name, *arguments, "--help"], capture_output=True, text=True).stdout, command
        # The service is killed after this delay, even if it has not drained.
        [grace] = [int(part.removeprefix("--grace=")) for part in shlex.split(service["dockerCommand"]) if part.startswith("--grace=")]
        assert grace < service["maxShutdownDelaySeconds"] <= 300
        for variable in service["envVars"]:
            given = set(variable) - {"key"}
            assert len(given) == 1 and given <= {"value", "sync", "fromDatabase"}, variable
            assert variable["key"] in settings(), variable["key"]
            if "fromDatabase" in variable:
                assert variable["fromDatabase"]["name"] in names and variable["fromDatabase"]["property"] == "connectionString"
            secret = variable["key"].endswith("_API_KEY")
            assert not secret or variable.get("sync") is False, f"{variable['key']} must not be in the file"
    print(f"render.yaml: {sum(len(service['envVars']) for service in blueprint['services'])} settings, commands that our binaries accept")


if __name__ == "__main__":
    main()
