"""Fixtures of the integration tests. What they are made of is in harness/.

Each xdist worker has a PostgreSQL cluster and a pair of Asterisks (kaphila's
and the carrier) of its own; each test has a database and a kaphila of its own
on them. A test that stops or freezes a server takes one for itself alone:
own_postgres, own_asterisk.
"""

import os
import subprocess

import pytest

from harness import asterisk as asterisk_module
from harness import paths
from harness import postgres as postgres_module
from harness import sanitizer
from harness.ari import Ari
from harness.asterisk import AsteriskPair
from harness.kaphila import Kaphila
from harness.ports import Ports
from harness.postgres import Postgres
from harness.simulator import Simulator
from harness.sink import WebhookSink
from harness.talk import Talk

LOG_TAIL_BYTES = 24000  # of each log, shown when a test fails
TEMPLATE = "kaphila"  # the cluster's first database, migrated once


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "serial: needs the machine for itself, runs without others"
    )
    config.addinivalue_line(
        "markers", "simulator(**options): those of the simulator fixture"
    )


class LogBook:
    """Which logs belong to the test that runs, and from which byte on."""

    def __init__(self):
        self._entries = []

    def add(self, server):
        """A server with log_files(); what it logged before is left out."""
        for name, path in server.log_files():
            start = path.stat().st_size if path.exists() else 0
            self._entries.append((name, path, start))

    def texts(self):
        """(name, text) of each log that has anything."""
        for name, path, start in self._entries:
            if not path.exists():
                continue
            with open(path, "rb") as file:
                size = path.stat().st_size
                file.seek(max(start, size - LOG_TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
            if text:
                yield name, text


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Show every log of a test that failed, or whose end did."""
    report = (yield).get_result()
    book = item.funcargs.get("logs") if hasattr(item, "funcargs") else None
    if report.failed and book is not None:
        for name, text in book.texts():
            report.sections.append((f"log: {name}", text))


@pytest.fixture
def logs():
    """The logs that are shown if this test fails; add() servers to it."""
    return LogBook()


@pytest.fixture(scope="session")
def ports():
    """Free ports: take(), take_rtp(), release(...)."""
    return Ports()


@pytest.fixture(scope="session")
def asterisk_root():
    """The root that Asterisk runs in; built if it is missing."""
    version = os.environ.get("KAPHILA_TEST_ASTERISK", "22")
    root = paths.service("asterisk-root", version, timeout_s=900)
    asterisk_module.remove_leftovers(root)
    return root


@pytest.fixture(scope="session")
def asterisk_pair(asterisk_root, ports):
    """The Asterisk pair of this test process, shared by its tests."""
    pair = AsteriskPair(asterisk_root, ports)
    try:
        pair.start()
        yield pair
    finally:
        pair.remove()


@pytest.fixture
def asterisk(asterisk_pair, logs):
    """The shared pair, left without channels, bridges and recordings."""
    logs.add(asterisk_pair)
    yield asterisk_pair
    asterisk_pair.media.clear()


@pytest.fixture
def own_asterisk(asterisk_root, ports, logs):
    """A pair for this test alone: it may be stopped, killed and frozen."""
    pair = AsteriskPair(asterisk_root, ports)
    logs.add(pair)
    try:
        pair.start()
        yield pair
    finally:
        pair.remove()


@pytest.fixture
def simulator(request, ports, tmp_path, logs):
    """An ARI simulator of this test's own, with the options of its mark."""
    mark = request.node.get_closest_marker("simulator")
    server = Simulator(
        ports, tmp_path / "simulator", **(mark.kwargs if mark else {})
    )
    logs.add(server)
    server.start()
    yield server
    server.close()


@pytest.fixture
def ari(asterisk):
    """An ARI client of the shared pair's media Asterisk, app "test"."""
    client = Ari(
        asterisk.media.url, asterisk.media.user, asterisk.media.password
    )
    client.listen("test")
    yield client
    client.close()


def _migrate(database, folder):
    """The schema, by kaphilactl."""
    (folder / "sanitizer").mkdir(parents=True)
    config = folder / "migrate.conf"
    config.write_text(
        f"[postgres]\ndsn = {database}\n[auth]\npepper = {'0' * 32}\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [paths.CTL, "--config", config, "migrate", "--dir", paths.SCHEMA],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        env=sanitizer.environment(folder / "sanitizer"),
        check=False,
    )
    reports = "\n".join(sanitizer.reports(folder / "sanitizer"))
    assert (
        done.returncode == 0 and not reports
    ), f"kaphilactl migrate: {done.stdout}{done.stderr}\n{reports}"


@pytest.fixture(scope="session")
def postgres(ports, tmp_path_factory):
    """The PostgreSQL cluster of this test process, with the schema."""
    postgres_module.remove_leftovers()
    cluster = Postgres(ports)
    try:
        cluster.start()
        _migrate(
            cluster.url(TEMPLATE), tmp_path_factory.mktemp("migrate") / "it"
        )
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
def database(postgres, logs):
    """A database with the schema, for this test alone."""
    logs.add(postgres)
    made = postgres.create_database(TEMPLATE)
    yield made
    made.drop()


@pytest.fixture
def own_postgres(ports, logs, tmp_path):
    """A cluster for this test alone, with the schema in its database "kaphila":
    it may be stopped, started and frozen."""
    cluster = Postgres(ports)
    try:
        cluster.start()
        logs.add(cluster)
        _migrate(cluster.url(TEMPLATE), tmp_path / "migrate")
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
def own_database(own_postgres):
    """The migrated database of own_postgres."""
    return postgres_module.Database(own_postgres, TEMPLATE)


@pytest.fixture
def sink(ports):
    """A webhook target of this test's own."""
    target = WebhookSink(ports)
    yield target
    target.close()


# What a kaphila uses has to outlive it, in whatever order a test names them.
SERVERS = (
    "asterisk",
    "own_asterisk",
    "simulator",
    "database",
    "own_postgres",
    "own_database",
    "sink",
)


@pytest.fixture
def make_kaphila(request, tmp_path, ports, logs):
    """make_kaphila(media, database, settings=None, start=True): any number of
    nodes. Each is stopped and checked at the test's end."""
    made = []
    for name in SERVERS:
        if name in request.fixturenames:
            request.getfixturevalue(name)

    def make(media, database, settings=None, start=True):
        node = Kaphila(
            tmp_path / f"kaphila-{len(made) + 1}",
            media,
            database,
            ports,
            settings,
        )
        made.append(node)
        logs.add(node)
        if start:
            node.start()
        return node

    yield make
    faults = [fault for node in made for fault in node.close()]
    assert not faults, "kaphila was not clean:\n" + "\n".join(faults)


@pytest.fixture
def kaphila(asterisk, database, make_kaphila):
    """A kaphila on the shared servers, ready."""
    return make_kaphila(asterisk.media, database)


@pytest.fixture
def talk(kaphila, sink, asterisk):
    """Calls of one key, to be talked to. At the test's end they are hung up,
    and every rule of the invariants must hold."""
    calls = Talk(kaphila, sink, asterisk)
    yield calls
    calls.settle()
