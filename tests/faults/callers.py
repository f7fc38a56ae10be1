"""The customers of a storm: they post calls at a fixed rate, one by one or
several in a list, each with an Idempotency-Key, and try again until they know
what became of it."""

import asyncio
import itertools
import json
import random
import time
from dataclasses import dataclass, field

from talk import FORWARDED_TO, Talk, Told

# What a carrier's number does (deploy/asterisk/carrier), and how often it is
# called: answered and hung up by the far end, answered and hung up by us,
# busy, congested, declined, unknown, ringing until the timeout or our hangup.
BEHAVIOURS = (
    ("08", 40), ("10", 25), ("11", 10), ("03", 8), ("05", 5), ("06", 3),
    ("09", 3), ("04", 6),
)
# …answered and pressing keys, by the storm's target: the simulator has one
# that does it soon. Behind it: the seconds until we hang up.
PRESSING = {
    "simulator": ((("07", 1), ("31", 8)), (0.3, 3)),
    "asterisk": ((("07", 6), ("14", 5)), (8, 12)),
}
TALK_S = (0.3, 3)
HANG_UP = {"10", "11", "04"}
TALKED_TO = {"10", "11"}  # these live long enough for it
BATCH_SHARE = 0.05  # of the requests: /batchcall
BATCH_SIZES = (2, 5)  # its calls
AMD_SHARE = 0.1  # of the calls: with useAmd
ASYNC_SHARE = 0.5  # …of those: with asyncAmd
GIVE_UP_S = 90
TRY_S = 15  # of one request
RETRY_S = (0.05, 0.4)
PENDING_MAX = 1500  # calls that wait for anything; no new ones beyond it
CONNECTIONS = 48  # at once; further requests wait for one


class Refused(Exception):
    """The connection ended, or nothing sensible came over it."""


@dataclass
class Outcome:
    """What a customer knows of one of his calls."""

    number: str
    call_id: str = None
    status: int = None
    tries: int = 0
    replayed: bool = False
    timed_out: list = field(default_factory=list)  # ids that a 503 named
    answers: list = field(default_factory=list)  # (status, code), at most 20
    told: Told = field(default_factory=Told)  # of its control


@dataclass
class Order:
    """One call that is to be placed, and what is to be done with it."""

    n: int
    outcome: Outcome
    body: dict  # of /makecall
    behaviour: str
    talk_s: float  # until it is hung up
    dice: random.Random  # its own, so that its luck depends on no other's


class Connection:
    """One keep-alive connection; opened anew when it was closed."""

    def __init__(self, address):
        self._address = address
        self._streams = None

    async def request(self, method, path, headers, body=None):
        """(status, headers, body), or Refused: then nobody knows."""
        try:
            return await asyncio.wait_for(
                self._request(method, path, headers, body), TRY_S
            )
        except (OSError, ValueError, EOFError, asyncio.TimeoutError) as error:
            self.close()
            raise Refused(f"{type(error).__name__}: {error}") from error

    async def _request(self, method, path, headers, body):
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        data = json.dumps(body).encode() if body is not None else b""
        head = [f"{method} {path} HTTP/1.1", "Host: storm"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        head += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + data)
        await writer.drain()
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        answer = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }
        text = await reader.readexactly(int(answer["content-length"]))
        if answer.get("connection", "").lower() == "close":
            self.close()
        return int(lines[0].split()[1]), answer, json.loads(text)

    def close(self):
        """Forget it; the next request connects anew."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


class Callers:
    """Posts calls until stop(), then waits for what is under way.

    address   (host, port) of the API
    talks     the share of the answered calls that are also played to,
              gathered from, forwarded
    amd       whether some calls are analysed
    pressing  one of PRESSING
    """

    def __init__(self, address, key, webhook_url, rate, seed,
                 ring_timeout_s=5, talks=0.3, amd=True,
                 pressing=PRESSING["simulator"]):
        self._address, self._url, self._rate = address, webhook_url, rate
        self._headers = {"Authorization": f"Bearer {key}"}
        self._seed, self._ring_timeout_s = seed, ring_timeout_s
        self._talks, self._amd = talks, amd
        weighted, self._pressing_s = pressing
        self._names, self._weights = zip(*BEHAVIOURS, *weighted)
        self._pressing = {name for name, _ in weighted}
        self._random = random.Random(f"callers {seed}")
        self._idle = [Connection(address) for _ in range(CONNECTIONS)]
        self._free = None  # a semaphore, made in the loop
        self._stop = False
        self.outcomes = []
        self.hangups = 0
        self.batches = 0  # lists that were posted
        self.held_back = 0  # calls not posted, for too many waited
        self.surprises = []  # answers that no rule has

    def stop(self):
        """No new calls; run() returns when all is known."""
        self._stop = True

    def run(self):
        """In a thread of its own."""
        asyncio.run(self._run())

    async def _run(self):
        self._free = asyncio.Semaphore(CONNECTIONS)
        tasks, begin = set(), time.monotonic()
        orders, size = [], 1
        for n in itertools.count():
            if self._stop:
                break
            wait = begin + n / self._rate - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            if len(tasks) >= PENDING_MAX:
                self.held_back += 1
                await asyncio.sleep(0)
                continue
            orders.append(self._order(n))
            if len(orders) < size:
                continue
            task = asyncio.ensure_future(self._serve(orders))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            orders, size = [], self._list_size()
        await asyncio.gather(*tasks, self._serve(orders))
        for connection in self._idle:
            connection.close()

    def _list_size(self):
        """Of the next request: 1 is a /makecall."""
        if self._random.random() >= BATCH_SHARE:
            return 1
        return self._random.randint(*BATCH_SIZES)

    def _order(self, n):
        behaviour = self._random.choices(self._names, self._weights)[0]
        pressing = behaviour in self._pressing
        span = self._pressing_s if pressing else TALK_S
        talk_s = self._random.uniform(*span)
        dice = random.Random(self._random.random())
        outcome = Outcome(f"1{n:09d}{behaviour}")
        self.outcomes.append(outcome)
        body = {
            "number": outcome.number, "webhookUrl": self._url,
            "metadata": {"n": n}, "ringTimeout": self._ring_timeout_s,
            **self._analysis(dice),
        }
        return Order(n, outcome, body, behaviour, talk_s, dice)

    async def _ask(self, path, headers, body, method="POST"):
        async with self._free:
            connection = self._idle.pop()
            try:
                return await connection.request(method, path, headers, body)
            finally:
                self._idle.append(connection)

    async def _ask_once(self, method, path, body):
        """(status, answer), or None where the answer was lost."""
        try:
            status, _, answer = await self._ask(
                path, self._headers, body, method
            )
        except Refused:
            return None
        return status, answer

    async def _serve(self, orders):
        """From the request to the hangup of each."""
        if len(orders) > 1:
            await self._place_list(orders)
        else:
            for order in orders:
                await self._place(order)
        await asyncio.gather(*(self._attend(order) for order in orders))

    async def _attend(self, order):
        pressing = order.behaviour in self._pressing
        if order.outcome.call_id is None or not (
            pressing or order.behaviour in HANG_UP
        ):
            return
        talks = self._talks
        if pressing and talks > 0:
            talks = 1
        if (pressing or order.behaviour in TALKED_TO) and (
            order.dice.random() < talks
        ):
            await self._talk(order, pressing)
        await asyncio.sleep(order.talk_s)
        await self._hang_up(order.outcome)

    def _analysis(self, dice):
        """The fields of /makecall that ask for a verdict."""
        if not self._amd or dice.random() >= AMD_SHARE:
            return {}
        return {"useAmd": True, "asyncAmd": dice.random() < ASYNC_SHARE}

    async def _talk(self, order, pressing):
        talk = Talk(
            self._ask_once, order.dice, order.outcome.call_id,
            self.surprises.append, pressing,
        )
        order.outcome.told = talk.told
        names, weights = zip(*FORWARDED_TO)
        behaviour = order.dice.choices(names, weights)[0]
        await talk.run(f"2{order.n:09d}{behaviour}")

    def _key(self, order):
        return f"storm-{self._seed}-{order.n}"

    def _take(self, order, status, answer, replayed):
        """Note an answer; true: what became of the call is known."""
        outcome, code = order.outcome, answer.get("code")
        outcome.answers = (outcome.answers + [(status, code)])[-20:]
        outcome.status, outcome.replayed = status, replayed
        if status == 200:
            outcome.call_id = answer["callId"]
            return True
        if status == 500 and code == "ORIGINATION_FAILED":
            return True
        if status == 503 and "callId" in answer:
            outcome.timed_out.append(answer["callId"])
        elif status not in (409, 503):
            self.surprises.append((outcome.number, status, answer))
            return True
        return False

    async def _place(self, order):
        headers = {**self._headers, "Idempotency-Key": self._key(order)}

        async def once(waiting):
            status, told, answer = await self._ask(
                "/makecall", headers, order.body
            )
            known = self._take(
                order, status, answer, "idempotent-replayed" in told
            )
            return [] if known else waiting

        await self._until_known([order], once)

    async def _place_list(self, orders):
        self.batches += 1

        async def once(waiting):
            calls = [
                {**order.body, "idempotencyKey": self._key(order)}
                for order in waiting
            ]
            status, _, answer = await self._ask(
                "/batchcall", self._headers, {"calls": calls}
            )
            results = answer.get("results")
            if status != 200:  # all had the same
                results = [answer] * len(waiting)
            if len(results) != len(waiting):
                self.surprises.append(("/batchcall", calls, answer))
                return []
            return [
                order
                for order, result in zip(waiting, results)
                if not self._take(
                    order, result.get("statusCode", status), result,
                    "idempotentReplayed" in result,
                )
            ]

        await self._until_known(orders, once)

    async def _until_known(self, waiting, once):
        """Ask again and again for what nobody knows yet.

        once  coroutine: posts those, and returns what is still not known
        """
        limit = time.monotonic() + GIVE_UP_S
        while time.monotonic() < limit:
            for order in waiting:
                order.outcome.tries += 1
            try:
                waiting = await once(waiting)
            except Refused as error:
                for order in waiting:
                    answers = order.outcome.answers + [(0, str(error))]
                    order.outcome.answers = answers[-20:]
            if not waiting:
                return
            await asyncio.sleep(random.uniform(*RETRY_S))
        for order in waiting:
            self.surprises.append(
                (order.outcome.number, "gave up", order.outcome.answers)
            )

    async def _hang_up(self, outcome):
        limit = time.monotonic() + GIVE_UP_S
        while time.monotonic() < limit:
            try:
                status, _, answer = await self._ask(
                    "/hangup", self._headers, {"callId": outcome.call_id}
                )
            except Refused:
                pass
            else:
                if status in (200, 404):
                    self.hangups += 1
                    return
                if status != 503:
                    self.surprises.append((outcome.number, status, answer))
                    return
            await asyncio.sleep(random.uniform(*RETRY_S))
        self.surprises.append((outcome.number, "hangup gave up", None))
