"""Customers' programs: web servers in Flask or Express that are run beside
kaphila, and what Express needs."""

import hashlib
import os
import queue
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
import requests

from .waiting import wait_until

EXAMPLES = Path(__file__).parents[1] / "examples"
NODE_LEAST = (18, 18)  # the first of 18 with --import


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

    def close(self, timeout_s=10):
        """End it, whether it wants to or not."""
        try:
            if self._process is not None:
                self._process.terminate()
                self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            self._ports.release(self.port)


def node_modules():
    """The folder with Express and axios, as tests/run has fetched them; skips
    the test with the reason where there is none."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    version = subprocess.run(
        ["node", "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    numbers = tuple(int(n) for n in version.strip("v").split(".")[:2])
    if numbers < NODE_LEAST:
        pytest.skip(f"node {version} can't preload a module")
    lock = (EXAMPLES / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("KAPHILA_CACHE_DIR", "/var/cache/kaphila"))
    name = f"node-{hashlib.sha256(lock).hexdigest()[:16]}"
    modules = cache / name / "node_modules"
    if not modules.is_dir():
        pytest.skip(f"no {modules}: tests/run could not fetch it")
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


class Forwarder:
    """Hands what a sink takes on to a program, one after the other. The sink
    answers by itself, at once: kaphila would tell a program again that takes
    long, and it would do everything twice.

    failures  (event, what came of it) of each that the program did not take
    """

    def __init__(self, sink, url):
        self._sink, self._url = sink, url
        self._waiting = queue.Queue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.failures = []
        sink.behaviour = self._take
        self._thread.start()

    def _take(self, delivery):
        self._waiting.put(delivery)
        return 200

    def _work(self):
        while (delivery := self._waiting.get()) is not None:
            headers = {
                name: value
                for name, value in delivery.headers.items()
                if name not in ("host", "content-length", "connection")
            }
            try:
                answer = requests.post(
                    self._url, data=delivery.body, headers=headers, timeout=60
                )
                if not answer.ok:
                    self.failures.append((delivery.kind, answer.status_code))
            except requests.RequestException as error:
                self.failures.append((delivery.kind, repr(error)))

    def close(self):
        """Take no more, and end when all was handed on."""
        self._sink.behaviour = None
        self._waiting.put(None)
        self._thread.join()
