"""What the customers of a storm do to calls that are answered: they play, speak,
gather, stop what plays or records, forward, and remember what they were told.
None of these requests may be repeated when its answer is lost, so what came of
such a one is left open.
"""

import asyncio
from dataclasses import dataclass, field

# What is asked of a call, and how often.
SCRIPTS = (
    (("play",), 30),
    (("gather",), 25),
    (("play", "gather"), 10),
    (("play", "play", "stop"), 10),
    (("gather", "gather"), 8),
    (("gather", "play now"), 5),
    (("silence", "play"), 8),
    (("forward",), 12),
    (("voice",), 12),
    (("voice", "play", "voice now"), 6),
    (("gather spoken",), 8),
    (("voice", "gather spoken"), 4),
)
# …of one that presses keys.
PRESSING_SCRIPTS = (
    (("gather",), 4),
    (("gather spoken",), 3),
    (("play", "gather"), 2),
    (("gather", "gather spoken"), 1),
)
# Whom a call is forwarded to: answers and hangs up, answers and stays, busy,
# congested, rings until the timeout or our hangup.
FORWARDED_TO = (("08", 40), ("10", 30), ("03", 15), ("05", 5), ("04", 10))
SOUNDS = ("hello-world", "demo-congrats", "vm-intro")
# A handful: each is made once, and then found in the cache.
TEXTS = (
    "Your parcel has arrived.",
    "Please enter your number.",
    "Press one to go on, or hang up.",
    "你好，请按一。",
    "Thank you. Good bye.",
)
TIMEOUT_MS = 1000  # of a gather
PRESSING_TIMEOUT_MS = 5000  # where digits are to come
ANSWER_S = 6  # for the answer to come, before the first is asked
ANSWER_EVERY_S = 0.2
PAUSE_S = (0.0, 0.4)  # between two requests
# Answers that are no surprise in a storm: done, the call is over, it is not
# answered or forwarded already, somebody is just not there.
EXPECTED = (200, 404, 409, 503)


@dataclass
class Told:
    """What a customer was told of the control of one of his calls."""

    plays: set = field(default_factory=set)
    gathers: int = 0
    forwards: set = field(default_factory=set)
    silenced: bool = False  # its recording was stopped
    lost_silence: bool = False
    lost_plays: int = 0  # their answers never came: maybe done
    lost_gathers: int = 0
    lost_forwards: int = 0


class Talk:
    """One call's script.

    ask       coroutine of (method, path, body) that gives (status, answer), or
              None where nobody knows
    dice      a random.Random
    surprise  function that takes what no rule has
    presses   whether the callee presses keys
    """

    def __init__(self, ask, dice, call_id, surprise, presses):
        self._ask, self._dice, self._call_id = ask, dice, call_id
        self._surprise, self._presses = surprise, presses
        self.told = Told()

    async def run(self, forward_number):
        """One script, on the call once it is answered."""
        scripts, weights = zip(
            *(PRESSING_SCRIPTS if self._presses else SCRIPTS)
        )
        script = self._dice.choices(scripts, weights)[0]
        pauses = [self._dice.uniform(*PAUSE_S) for _ in script]
        if not await self._wait_answer():
            return
        for step, pause in zip(script, pauses):
            verb, _, how = step.partition(" ")
            if verb == "forward":
                await self._forward(forward_number)
            else:
                await getattr(self, f"_{verb}")(how)
            await asyncio.sleep(pause)

    async def _wait_answer(self):
        for _ in range(int(ANSWER_S / ANSWER_EVERY_S)):
            answer = await self._ask("GET", f"/calls/{self._call_id}", None)
            if answer is not None and answer[0] == 404:
                return False
            if answer is not None and answer[1].get("status") == "answered":
                return True
            await asyncio.sleep(ANSWER_EVERY_S)
        return False

    async def _control(self, method, path, body):
        """The decoded answer of what was done, False of what was not, None
        where nobody knows."""
        answer = await self._ask(method, path, body)
        if answer is None:
            return None
        status, told = answer
        if status not in EXPECTED:
            self._surprise((path, body, status, told))
        # a 503 by the time limit says nothing of what was done; a 404 may
        # come of a call that has ended meanwhile
        if status in (404, 503):
            return None
        return told if status == 200 else False

    async def _play(self, how):
        await self._begin("/play", how, file=self._dice.choice(SOUNDS))

    async def _voice(self, how):
        await self._begin("/voice", how, text=self._dice.choice(TEXTS))

    async def _begin(self, path, how, **what):
        body = {
            "callId": self._call_id,
            **what,
            "playTo": self._dice.choice(("bridge", "bridge", "channel")),
            "interrupt": how == "now",
        }
        told = await self._control("POST", path, body)
        if told:
            self.told.plays.add(told["playbackId"])
        self.told.lost_plays += told is None

    def _prompt(self, how):
        if how == "spoken":
            return {"text": self._dice.choice(TEXTS)}
        return {"file": self._dice.choice(SOUNDS)}

    async def _gather(self, how):
        body = {
            "callId": self._call_id,
            **self._prompt(how),
            "numDigits": self._dice.choice((1, 2, 4)),
            "timeout": PRESSING_TIMEOUT_MS if self._presses else TIMEOUT_MS,
            "bargeIn": self._dice.random() < 0.8,
        }
        if self._dice.random() < 0.3:
            body["finishOnKey"] = "#"
        told = await self._control("POST", "/gather", body)
        self.told.gathers += bool(told)
        self.told.lost_gathers += told is None

    async def _stop(self, _):
        await self._control(
            "DELETE", f"/calls/{self._call_id}/playback", None
        )

    async def _silence(self, _):
        told = await self._control(
            "POST", f"/recordings/{self._call_id}/stop", None
        )
        self.told.silenced = bool(told)
        self.told.lost_silence = told is None

    async def _forward(self, number):
        told = await self._control(
            "POST",
            "/forwardcall",
            {"callId": self._call_id, "forwardNumber": number},
        )
        if told:
            self.told.forwards.add(told["forwardedCallId"])
        self.told.lost_forwards += told is None


def faults(told, call_id, events):
    """What does not go together with a call's events (each once).

    told  its Told
    """
    names = [event["event"] for event in events]
    plays = {
        event["playbackId"]
        for event in events
        if event["event"] in (
            "tts.played", "playback.finished", "playback.failed"
        )
        and not event["playbackId"].startswith("gather-")
    }
    strangers = plays - told.plays
    if len(strangers) > told.lost_plays:
        yield f"{call_id}: played without being asked: {strangers}"
    for play in plays:
        if f"-{call_id}-" not in play:
            yield f"{call_id}: {play} is another call's"
    begun = names.count("gather.started")
    if not told.gathers <= begun <= told.gathers + told.lost_gathers:
        yield (
            f"{call_id}: {begun} gathers begun, asked for {told.gathers} and"
            f" perhaps {told.lost_gathers} more"
        )
    stopped = "recording.stopped" in names
    if stopped and not (told.silenced or told.lost_silence):
        yield f"{call_id}: a recording stopped that nobody asked to"
    if told.silenced and "recording.started" in names and not stopped:
        yield f"{call_id}: a recording that did not stop"
    for kind in ("call.transferred", "call.transfer_failed"):
        legs = {
            event["forwardedCallId"]
            for event in events
            if event["event"] == kind
        }
        if len(legs - told.forwards) > told.lost_forwards:
            yield f"{call_id}: {kind} of {legs}, asked {told.forwards}"
