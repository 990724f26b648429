"""The peers' packages, in the cache: a virtual environment, and a folder of node_modules."""

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ..programs import Missing, need

HERE = Path(__file__).parent
PATIENCE = 900.0  # seconds that an installation may take


class Installed:
    """Where each peer's programs are. Installs them when they are first asked for."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    def place(self, program: str) -> Path:
        """The directory in which the peers' scripts run with that program. Raises Missing."""
        return self._node() if program == "node" else HERE

    def command(self, words: tuple[str, ...]) -> list[str]:
        """The words with the program as it is installed. Raises Missing."""
        program, *rest = words
        if program == "node":
            return ["node", *rest]
        return [str(self._python() / "bin" / program), *rest]

    def environment(self) -> dict[str, str]:
        """For the peers' programs: no settings of the caller's Python."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return inherited | {"PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"}

    def version(self, package: str) -> str:
        if package == "bullmq":
            return str(json.loads((self._node() / "node_modules/bullmq/package.json").read_text())["version"])
        folders = (self._python() / "lib").glob("python*/site-packages")
        (found,) = importlib.metadata.distributions(name=package, path=list(map(str, folders)))
        return found.version

    def _python(self) -> Path:
        wanted = HERE / "requirements.txt"
        home = self._cache / f"python-{_digest(wanted)}"
        if not (home / "installed").exists():
            _clear(home)
            _install([sys.executable, "-m", "venv", str(home)])
            _install([str(home / "bin/pip"), "install", "--quiet", "-r", str(wanted)])
            (home / "installed").touch()
        return home

    def _node(self) -> Path:
        need("node", "npm")
        wanted = HERE / "bullmq" / "package.json"
        home = self._cache / f"node-{_digest(wanted)}"
        if not (home / "installed").exists():
            _clear(home)
            shutil.copy(wanted, home)
            _install(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(home)])
            (home / "installed").touch()
        shutil.copy(HERE / "bullmq" / "jobs.mjs", home)
        return home


def _digest(wanted: Path) -> str:
    """Another list of packages or another Python is installed anew."""
    return hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()[:12]


def _clear(home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)


def _install(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it says nothing"]
        raise Missing(f"could not be installed: {lines[-1]}")
