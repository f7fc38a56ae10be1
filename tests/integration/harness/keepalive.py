"""Customers on keep-alive connections, at a fixed rate, who try nothing again:
each request that isn't answered, or not as it must be, is a failure.

A connection is used until an answer says that it was the last one, or until it
is seen closed before the next request, as HTTP clients do.
"""

import asyncio
import itertools
import json
import threading
import time
from dataclasses import dataclass, field

TRY_S = 30
READS = ("/calls", "/health", "/api/me", "/calls/{call}")


@dataclass
class Figures:
    """What came of it so far."""

    requests: int = 0
    connects: int = 0
    closed_idle: int = 0  # connections that were closed between two requests
    failures: list = field(default_factory=list)  # texts
    calls: list = field(default_factory=list)  # ids of accepted calls
    latencies: list = field(default_factory=list)  # seconds, of all requests


class _Connection:
    """One keep-alive connection."""

    def __init__(self, address, figures):
        self._address = address
        self._figures = figures
        self._streams = None

    async def request(self, method, path, headers, body=None):
        """(status, decoded body); raises where there is no whole answer."""
        if self._streams is not None and self._streams[0].at_eof():
            self._figures.closed_idle += 1
            self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
            self._figures.connects += 1
        reader, writer = self._streams
        data = json.dumps(body).encode() if body is not None else b""
        head = [f"{method} {path} HTTP/1.1", "Host: keepalive"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None:
            head.append("Content-Type: application/json")
        head.append(f"Content-Length: {len(data)}")
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + data)
        await writer.drain()
        text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = text.split("\r\n")
        answer = {
            name.lower(): value.strip()
            for name, _, value in (
                line.partition(":") for line in lines[1:] if line
            )
        }
        whole = await reader.readexactly(int(answer["content-length"]))
        if answer.get("connection", "").lower() == "close":
            self.close()
        return int(lines[0].split()[1]), json.loads(whole)

    def close(self):
        """Forget it; the next request connects anew."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


class KeepAlive:
    """The customers; they run in a thread of their own.

    base_url, key  of the node
    hook           webhookUrl of the calls
    rate           requests a second, calls included; they come evenly
    calls          of them /makecall
    number         number(n) of the n-th call
    talk_s         seconds until /hangup, which comes on top; None: never
    idle           further connections that send one request every 4 s
    """

    def __init__(self, base_url, key, hook, **options):
        host, _, port = base_url.rpartition("//")[2].partition(":")
        self._address = host, int(port)
        self._headers = {"Authorization": f"Bearer {key}"}
        self._hook = hook
        self._rate = options.get("rate", 200)
        self._calls = options.get("calls", 20)
        self._connections = options.get("connections", 16)
        self._idle = options.get("idle", 4)
        self._number = options["number"]
        self._talk_s = options.get("talk_s")
        self.figures = Figures()
        self._over = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run()), daemon=True
        )

    def start(self):
        """Begin; returns at once."""
        self._thread.start()

    def stop(self):
        """No new requests; until the last answer. The figures."""
        self._over.set()
        self._thread.join(120)
        assert not self._thread.is_alive(), "the customers don't end"
        return self.figures

    async def _ask(self, connection, method, path, body=None, good=(200,)):
        figures, started = self.figures, time.perf_counter()
        figures.requests += 1
        try:
            status, answer = await asyncio.wait_for(
                connection.request(method, path, self._headers, body), TRY_S
            )
        except (OSError, ValueError, EOFError, asyncio.TimeoutError) as error:
            connection.close()
            figures.failures.append(
                f"{time.time():.3f} {method} {path}: "
                f"{type(error).__name__} {error}"
            )
            return None
        figures.latencies.append(time.perf_counter() - started)
        if status not in good:
            figures.failures.append(
                f"{time.time():.3f} {method} {path}: {status} {answer}"
            )
        return answer if status == 200 else None

    async def _work(self, jobs):
        connection = _Connection(self._address, self.figures)
        while (job := await jobs.get()) is not None:
            kind, value = job
            if kind == "read":
                call = (self.figures.calls or ["1.1"])[-1]
                await self._ask(
                    connection, "GET", value.format(call=call), good=(200, 404)
                )
            elif kind == "hangup":
                await self._ask(
                    connection,
                    "POST",
                    "/hangup",
                    {"callId": value},
                    good=(200, 404),
                )
            else:
                answer = await self._ask(
                    connection,
                    "POST",
                    "/makecall",
                    {
                        "number": self._number(value),
                        "webhookUrl": self._hook,
                    },
                )
                if answer is not None:
                    self.figures.calls.append(answer["callId"])
                    self._later(jobs, answer["callId"])
        connection.close()

    def _later(self, jobs, call_id):
        if self._talk_s is not None:
            asyncio.get_running_loop().call_later(
                self._talk_s, jobs.put_nowait, ("hangup", call_id)
            )

    async def _idle_work(self, number):
        connection = _Connection(self._address, self.figures)
        await asyncio.sleep(number / max(self._idle, 1) * 4)
        while not self._over.is_set():
            await self._ask(connection, "GET", "/health")
            for _ in range(40):
                if not self._over.is_set():
                    await asyncio.sleep(0.1)
        connection.close()

    async def _run(self):
        jobs = asyncio.Queue()
        workers = [
            asyncio.create_task(self._work(jobs))
            for _ in range(self._connections)
        ]
        idle = [
            asyncio.create_task(self._idle_work(i)) for i in range(self._idle)
        ]
        began, reads = time.monotonic(), itertools.cycle(READS)
        for n in itertools.count():
            wait = began + n / self._rate - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            if self._over.is_set():
                break
            made = n * self._calls // self._rate
            if (n + 1) * self._calls // self._rate > made:
                jobs.put_nowait(("call", made))
            else:
                jobs.put_nowait(("read", next(reads)))
        if self._talk_s is not None:
            await asyncio.sleep(self._talk_s + 1)
        for _ in workers:
            jobs.put_nowait(None)
        await asyncio.gather(*workers, *idle)
