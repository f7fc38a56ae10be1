"""Ports for tests that run at the same moment, in several processes.

A port is taken by a lock file, held until the process ends, so that two
pytest processes never hand out the same one. The ranges lie under the
kernel's ephemeral ports; the first can be set by
KAPHILA_TEST_PORTS=first-last.
"""

import fcntl
import os
import socket
from pathlib import Path

LOCK_DIR = Path("/tmp/kaphila-test-ports")
DEFAULT_RANGE = "20000-29999"
RTP_RANGE = range(10000, 19999)
RTP_BLOCK = 200  # UDP ports of one Asterisk: two a call that is up


class Ports:
    """Hands out ports of 127.0.0.1 that nobody else uses, TCP and UDP."""

    def __init__(self):
        first, last = os.environ.get("KAPHILA_TEST_PORTS", DEFAULT_RANGE).split(
            "-"
        )
        self._range = range(int(first), int(last) + 1)
        self._locks = {}
        self._rows = {}  # first port → the further blocks of its row
        LOCK_DIR.mkdir(mode=0o777, exist_ok=True)

    def take(self):
        """One port."""
        for port in self._range:
            if self._try_lock(port, _bind_both):
                return port
        raise RuntimeError(f"no free port in {self._range}")

    def take_rtp(self, count=RTP_BLOCK):
        """The first of so many ports in a row, in blocks of RTP_BLOCK."""
        blocks = -(-count // RTP_BLOCK)
        starts = RTP_RANGE[::RTP_BLOCK]
        for at in range(len(starts) - blocks + 1):
            row = starts[at : at + blocks]
            if self._try_lock_all(row):
                self._rows[row[0]] = row[1:]
                return row[0]
        raise RuntimeError(f"no {count} free ports in a row in {RTP_RANGE}")

    def release(self, *ports):
        """Give ports back; whoever used them has ended."""
        for port in ports:
            for one in (port, *self._rows.pop(port, ())):
                os.close(self._locks.pop(one))

    def _try_lock_all(self, row):
        for done, first in enumerate(row):
            if not self._try_lock(first, lambda _: None):
                self.release(*row[:done])
                return False
        return True

    def _try_lock(self, port, probe):
        if port in self._locks:
            return False
        fd = os.open(
            LOCK_DIR / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666
        )
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            probe(port)
        except OSError:
            os.close(fd)
            return False
        self._locks[port] = fd
        return True


def _bind_both(port):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                # A port whose last connections still fade away will do.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
