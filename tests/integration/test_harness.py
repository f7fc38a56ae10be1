"""What the tests themselves stand on: ports, customers' programs and what is
handed to them, the check for banned calls. No server of ours is needed."""

import shutil
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from harness import paths, postgres
from harness.ports import RTP_BLOCK, Ports
from harness.sink import WebhookSink
from harness.waiting import wait_until
from harness.web_app import Forwarder, WebApp


def test_rtp_ports_in_a_row():
    """As many as are wanted, nobody else's, and all given back."""
    ports, others = Ports(), Ports()
    first = ports.take_rtp(3 * RTP_BLOCK + 1)
    row = range(first, first + 4 * RTP_BLOCK)
    taken = [others.take_rtp() for _ in range(3)]
    assert not set(taken) & set(row)
    others.release(*taken)
    ports.release(first)
    again = ports.take_rtp(3 * RTP_BLOCK + 1)
    ports.release(again)
    with pytest.raises(RuntimeError):
        ports.take_rtp(60000)
    last = ports.take_rtp(RTP_BLOCK)
    ports.release(last)


STUBBORN = """
import http.server, os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
server = http.server.ThreadingHTTPServer(
    ("127.0.0.1", int(os.environ["PORT"])), http.server.SimpleHTTPRequestHandler
)
print("here", flush=True)
server.serve_forever()
"""


def test_a_program_that_does_not_want_to_end(tmp_path):
    """It is ended all the same, and its port is free again."""
    ports = Ports()
    app = WebApp(ports, tmp_path, "stubborn")
    # pylint: disable=protected-access
    app._start(["/usr/bin/python3", "-c", STUBBORN], {})
    process = app._process
    app.close(timeout_s=0.5)
    assert process.poll() is not None
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", app.port))
    assert app.port not in ports._locks


def test_a_slow_program_holds_up_nobody():
    """What is told is answered at once; the program gets each once, in their
    order, and what it refuses is known."""
    ports = Ports()
    sink, program = WebhookSink(ports), WebhookSink(ports)
    go_on = threading.Event()

    def answer(delivery):
        go_on.wait(60)
        return 500 if delivery.event["n"] == 1 else 200

    program.behaviour = answer
    forwarder = Forwarder(sink, program.url)
    for n in range(3):
        event = {"n": n, "event": "e", "eventId": n}
        assert requests.post(sink.url, json=event, timeout=20).ok
    assert len(sink.deliveries) == 3 and len(program.deliveries) < 3
    go_on.set()
    wait_until(lambda: len(program.deliveries) == 3, "all three")
    forwarder.close()
    assert [d.event["n"] for d in program.deliveries] == [0, 1, 2]
    assert forwarder.failures == [("e", 500)]
    sink.close()
    program.close()


def test_leftovers_are_removed_once(tmp_path, monkeypatch):
    """Test processes that begin at the same moment find the same ones."""
    monkeypatch.setattr(paths, "SCRATCH", tmp_path)
    (tmp_path / "4194305" / "pg-1").mkdir(parents=True)  # no pid is so high
    together = threading.Barrier(2)
    stopped = []

    def service(*arguments, **_):
        stopped.append(arguments)
        try:
            together.wait(1)  # for another one to come here, too
        except threading.BrokenBarrierError:
            pass

    monkeypatch.setattr(paths, "service", service)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(postgres.remove_leftovers) for _ in range(2)]:
            done.result(60)
    assert len(stopped) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["remove-clusters.lock"]


def check_banned(tree):
    """The check's (exit status, what it found) in another tree."""
    (tree / "tests").mkdir(exist_ok=True)
    shutil.copy(paths.TOP / "tests" / "check_banned", tree / "tests")
    done = subprocess.run(
        [tree / "tests" / "check_banned"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("snprintf(a, 1, x);", 0),
        ("call->gets(1);", 0),
        ("\tstrcpy(a, b);", 1),
        ("x = atoi (y);", 1),
    ],
)
def test_banned_calls(tmp_path, text, status):
    """What is called, not what is named alike."""
    (tmp_path / "a.c").write_text(text)
    (tmp_path / "build-x").mkdir()
    (tmp_path / "build-x" / "b.c").write_text("gets(a);")
    assert check_banned(tmp_path)[0] == status


def test_banned_call_among_many_files(tmp_path):
    """The one hit is found, wherever among more files than one command takes."""
    folder = tmp_path / ("a" * 200)
    folder.mkdir()
    for n in range(1500):
        (folder / f"{n:04}-{'b' * 100}.h").write_text("int a;\n")
    (tmp_path / "z.c").write_text("gets(a);\n")
    assert check_banned(tmp_path) == (1, "./z.c:1:gets(a);\n")
