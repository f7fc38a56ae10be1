"""Answered calls that a test talks to, and what must hold when they are over.

    call = talk.answered("12")
    call.play("hello-world")
    call.wait("playback.finished")
    call.hang_up()
    audio.find(talk.sound("hello-world"), call.heard())
"""

import itertools
import os
import re

from . import audio, invariants
from .waiting import wait_until

_numbers = itertools.count(1)


def new_number(digits):
    """A number with that behaviour of the carrier, dialled by nobody else."""
    worker = re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "0"))
    return f"14{int(worker) % 100:02}{next(_numbers) % 100000:05}{digits:0>2}"


class Call:
    """One call of a Talk. Its requests must succeed; for others use
    talk.client."""

    def __init__(self, talk, call_id, number):
        self.talk, self.id, self.number = talk, call_id, number

    # --- requests; each returns the decoded answer ---

    def _asked(self, response):
        assert response.status_code == 200, response.text
        answer = response.json()
        assert answer["success"] is True
        return answer

    def voice(self, text, **body):
        """POST /voice."""
        return self._asked(self.talk.client.voice(self.id, text, **body))

    def play(self, file, **body):
        """POST /play."""
        return self._asked(self.talk.client.play(self.id, file, **body))

    def gather(self, **body):
        """POST /gather."""
        return self._asked(self.talk.client.gather(self.id, **body))

    def stop_playback(self):
        """DELETE /calls/:callId/playback."""
        return self._asked(self.talk.client.stop_playback(self.id))

    def hang_up(self):
        """POST /hangup, and the call's events when all are there."""
        self._asked(self.talk.client.hangup(self.id))
        return self.whole()

    # --- events ---

    def events(self, *kinds):
        """Its events so far in the order of `sequence`, of these kinds."""
        found = self.talk.sink.events(self.id)
        found.sort(key=lambda event: event["sequence"])
        return [e for e in found if not kinds or e["event"] in kinds]

    def wait(self, kind, count=1, timeout_s=40.0, **fields):
        """The count-th event of that kind with these fields."""

        def find():
            own = [
                event
                for event in self.events(kind)
                if all(event.get(k) == v for k, v in fields.items())
            ]
            return own[count - 1] if len(own) >= count else None

        return wait_until(
            find,
            lambda: f"{count} × {kind} {fields or ''}; so far: {self.story()}",
            timeout_s,
        )

    def story(self):
        """Its events in short, for messages."""
        return [(e["sequence"], e["event"]) for e in self.events()]

    def whole(self, timeout_s=60.0):
        """All events, once the call is over and none is missing."""

        def over():
            events = self.events()
            kinds = {event["event"] for event in events}
            return (
                "call.ended" in kinds
                and ("recording.started" in kinds)
                == ("recording.completed" in kinds)
                and len(events) == events[-1]["sequence"]
                and events
            )

        return wait_until(
            over, lambda: f"{self.id} to be whole: {self.story()}", timeout_s
        )

    # --- what the carrier heard: behaviours 12 and 16, once hung up ---

    @property
    def heard_path(self):
        """The carrier's recording."""
        return self.talk.pair.carrier.recording_dir / f"{self.number}.wav"

    def heard(self):
        """Its loudness, once it is complete."""
        wait_until(self._heard_whole, f"the carrier's {self.heard_path}")
        return audio.loudness(self.heard_path)

    def _heard_whole(self):
        """Asterisk writes the length into the head when it has done."""
        try:
            with open(self.heard_path, "rb") as file:
                head = file.read(44)
            size = self.heard_path.stat().st_size
        except FileNotFoundError:
            return False
        told = int.from_bytes(head[40:44], "little")
        return len(head) == 44 and told and told >= size - 44 - 1


class Talk:
    """The calls of one test, with one key of one kaphila."""

    def __init__(self, kaphila, sink, pair, **key_options):
        self.kaphila, self.sink, self.pair = kaphila, sink, pair
        self.key = kaphila.create_key(**key_options)
        self.client = kaphila.api(self.key)
        self.calls = []

    def place(self, digits, **body):
        """A Call to that behaviour, as soon as it is accepted. On a connection
        of its own, so of any worker."""
        number = new_number(digits)
        client = self.kaphila.api(self.key)
        call_id = client.make_call(number, webhookUrl=self.sink.url, **body)
        call = Call(self, call_id, number)
        self.calls.append(call)
        return call

    def answered(self, digits, **body):
        """A Call that was answered."""
        call = self.place(digits, **body)
        call.wait("call.answered")
        return call

    def sound(self, name):
        """The loudness of a sound that Asterisk has."""
        return audio.loudness(self.pair.media.sounds_dir / f"{name}.wav")

    def spoken_files(self):
        """The files of speech that are there now."""
        folder = self.kaphila.speech_dir
        return {path for path in folder.rglob("*.wav") if path.is_file()}

    def settle(self):
        """End what lives; every rule must hold, for each call and for all."""
        live = {
            call["callId"] for call in self.client.get("/calls").json()["calls"]
        }
        for call_id in live:
            self.client.hangup(call_id)
        for call in self.calls:
            call.whole()
        media = self.pair.media
        invariants.wait_settled(
            self.kaphila, lambda: invariants.left_in_asterisk(media)
        )
        found = invariants.check(
            self.kaphila,
            invariants.sink_events(self.sink),
            [call.id for call in self.calls],
        )
        assert not found, "\n".join(found)
