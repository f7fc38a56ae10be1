"""Customers' programs: web servers in Flask or Express that are run beside
kaphila, and what Express needs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import requests

from .waiting import wait_until

PACKAGES = ("express@4", "axios@1")
DEBIAN_MODULES = Path("/usr/share/nodejs")  # node-express, node-axios

# Has a program that listens on a port of its own choice listen on ours, and
# on loopback alone; the program itself stays as it is.
LISTEN = """import net from "node:net";
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
	const done = rest.filter((one) => typeof one === "function");
	return listen.call(this, %d, "127.0.0.1", ...done);
};
"""


class WebApp:
    """A program that answers HTTP on a port of this test's."""

    def __init__(self, ports, folder, name):
        self.folder = folder
        self.port = ports.take()
        self.log_path = folder / f"{name}.log"
        self._ports, self._name, self._process = ports, name, None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self):
        """http://127.0.0.1:PORT"""
        return f"http://127.0.0.1:{self.port}"

    def _start(self, arguments, env):
        with open(self.log_path, "wb") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *map(str, arguments)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **env, "PORT": str(self.port)},
            )
        wait_until(self._answers, lambda: f"{self._name}: {self.log()}", 60)

    def _answers(self):
        assert self._process.poll() is None, self.log()
        try:
            requests.get(self.url, timeout=5)
        except requests.ConnectionError:
            return False
        return True

    def run_flask(self, program, env):
        """A module with an `app`, by Flask's own server."""
        self._start(
            ["/usr/bin/python3", "-m", "flask", "--app", program, "run"]
            + ["--host", "127.0.0.1", "--port", self.port],
            env,
        )

    def run_node(self, program, modules, env):
        """An ES module that listens somewhere; its packages in `modules`."""
        (self.folder / "node_modules").symlink_to(modules)
        preload = self.folder / "listen.mjs"
        preload.write_text(LISTEN % self.port, encoding="utf-8")
        self._start(["node", "--import", preload, program], env)

    def log(self):
        """What it has written."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def log_files(self):
        """(name, path) of each log."""
        return [(self._name, self.log_path)]

    def close(self):
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
        self._ports.release(self.port)


def _npm_modules(folder):
    """npm's packages, fetched once a machine; the reason if they can't be."""
    modules = folder / "node_modules"
    if modules.is_dir():
        return modules, ""
    if shutil.which("npm") is None:
        return None, "npm is not installed"
    building = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", *PACKAGES],
            cwd=building,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    except subprocess.TimeoutExpired:
        done = None
    if done is None or done.returncode != 0:
        shutil.rmtree(building, ignore_errors=True)
        return None, f"npm: {done.stderr[-300:] if done else 'no answer'}"
    try:
        building.rename(folder)
    except OSError:  # another one was first
        shutil.rmtree(building, ignore_errors=True)
    return modules, ""


def node_modules(*needed):
    """A folder with Express (and what else is `needed`), from npm or from
    Debian; skips the test with the reason where there is none."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    version = subprocess.run(
        ["node", "--version"], capture_output=True, text=True, check=True
    ).stdout
    if int(version.strip("v\n").partition(".")[0]) < 20:
        pytest.skip(f"node {version.strip()} can't preload a module")
    cache = os.environ.get("KAPHILA_CACHE_DIR", "/var/cache/kaphila")
    modules, reason = _npm_modules(Path(cache) / "express")
    if modules is None:
        if not all((DEBIAN_MODULES / one).is_dir() for one in needed):
            pytest.skip(f"no {' and '.join(needed)}: {reason}")
        modules = DEBIAN_MODULES
    return modules


def code_blocks(reference, language):
    """The fenced code blocks of a language in a Markdown file."""
    text = Path(reference).read_text(encoding="utf-8")
    blocks, inside = [], None
    for line in text.splitlines():
        if inside is None and line.strip() == f"```{language}":
            inside = []
        elif inside is not None and line.strip() == "```":
            blocks.append("\n".join(inside) + "\n")
            inside = None
        elif inside is not None:
            inside.append(line)
    return blocks


def forward(sink, url):
    """Have the sink hand each delivery on, and answer as that does."""

    def hand_on(delivery):
        headers = {
            name: value
            for name, value in delivery.headers.items()
            if name not in ("host", "content-length", "connection")
        }
        try:
            answer = requests.post(
                url, data=delivery.body, headers=headers, timeout=30
            )
        except requests.RequestException:
            return 502
        return answer.status_code

    sink.behaviour = hand_on
