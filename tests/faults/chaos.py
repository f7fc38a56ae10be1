"""What a storm does to a node: a plan drawn from the seed, so that a failure
can be repeated, and the hands that carry it out.

Processes are taken by role and slot when their moment comes; where there is
none (it is just being restarted), the next that lives is taken.
"""

import os
import random
import signal
import time
from dataclasses import dataclass

from harness.kaphila import control

# (action, weight, needs the simulator)
ACTIONS = (
    ("kill worker", 40, False),
    ("kill webhookd", 10, False),
    ("kill recorder", 8, False),
    ("stop worker", 4, False),
    ("stop webhookd", 1, False),
    ("abort worker", 2, False),
    ("term worker", 3, False),
    ("hup worker", 4, False),
    ("hup webhookd", 1, False),
    ("hup recorder", 1, False),
    ("restart all", 1, False),
    ("kill all", 1, False),
    ("kill master", 1, False),
    ("scale", 2, False),
    ("pause", 1, False),
    ("cut postgres", 2, False),
    ("fault cut_events", 3, True),
    ("fault cut_commands", 3, True),
    ("fault half_frame", 2, True),
    ("fault repeat_frame", 2, True),
    ("fault unknown_event", 2, True),
    ("fault huge_event", 1, True),
    ("fault out_of_order", 2, True),
    ("fault replace_app", 1, True),
    ("fault steal_app", 1, True),
    ("fault forget_app", 1, True),
    ("fault delay_replies", 2, True),
    ("fault drop_reply", 3, True),
    ("fault silence", 1, True),
    ("fault freeze", 1, True),
    ("fault restart", 1, True),
)
NOBODY = "none lives"


@dataclass(frozen=True)
class Step:
    """One entry of the plan."""

    at_s: float
    action: str
    draw: float  # 0..1, for whatever the action has to choose


def plan(seed, seconds, every_s, simulator, without=()):
    """The steps of a storm, in their order; the same for the same arguments."""
    dice = random.Random(f"chaos {seed}")
    actions = [
        (name, weight)
        for name, weight, needs in ACTIONS
        if (simulator or not needs) and name not in without
    ]
    names, weights = zip(*actions)
    steps, at_s = [], 1.0
    while at_s < seconds:
        steps.append(
            Step(at_s, dice.choices(names, weights)[0], dice.random())
        )
        at_s += dice.uniform(0.3, 1.7) * every_s
    return steps


class Chaos:
    """Carries out a plan on a Kaphila; counts what it did."""

    def __init__(self, node, steps, simulator, workers, say):
        self._node, self._steps, self._simulator = node, steps, simulator
        self._workers, self._say = workers, say
        self.done = {}
        self.kills = 0

    def run(self, until=lambda: False):
        """Until the plan is through, or until() is true."""
        begin = time.monotonic()
        for step in self._steps:
            while time.monotonic() < begin + step.at_s:
                if until():
                    return
                time.sleep(min(0.05, max(0, begin + step.at_s - time.monotonic())))
            self._take(step)

    def _take(self, step):
        verb, _, what = step.action.partition(" ")
        try:
            did = getattr(self, f"_do_{verb}")(what, step.draw)
        except (OSError, ValueError) as error:
            did = f"not done: {error}"
        self.done[step.action] = self.done.get(step.action, 0) + 1
        self._say(f"{step.at_s:8.2f} s  {step.action}: {did}")

    def _children(self, role):
        status = control(self._node.run_dir, command="status")
        return [
            child
            for child in status["children"]
            if child["role"] == role and child["pid"] > 0
        ]

    def _end(self, role, draw, number):
        """A signal that ends a process, by itself or by the watchdog."""
        did = self._signal(role, draw, number)
        self.kills += did != NOBODY
        return did

    def _signal(self, role, draw, number):
        living = self._children(role)
        if not living:
            return NOBODY
        child = living[int(draw * len(living))]
        pid = child["pid"]
        # One that is being replaced has two; now and then the old one is hit.
        leaving = (child.get("leaving") or {}).get("pid")
        if leaving and draw * 10 % 1 < 0.3:
            pid = leaving
        os.kill(pid, number)
        return f"slot {child['slot']}, pid {pid}"

    def _do_kill(self, what, draw):
        if what == "master":
            self._node.kill()
            self.kills += 1
            self._node.start(wait_ready=False)
            return "started again"
        if what == "all":
            return "; ".join(
                self._end(role, draw, signal.SIGKILL)
                for role in ("worker", "worker", "webhookd", "recorder")
            )
        return self._end(what, draw, signal.SIGKILL)

    def _do_stop(self, what, draw):
        return self._end(what, draw, signal.SIGSTOP)

    def _do_abort(self, what, draw):
        return self._end(what, draw, signal.SIGABRT)

    def _do_term(self, what, draw):
        return self._signal(what, draw, signal.SIGTERM)

    def _do_hup(self, what, draw):
        return self._signal(what, draw, signal.SIGHUP)

    def _do_restart(self, what, _):
        return control(self._node.run_dir, command="restart", role=what)

    def _do_scale(self, _, draw):
        workers = 1 + int(draw * (self._workers + 1))
        return workers, control(
            self._node.run_dir, command="scale", workers=workers
        )

    def _do_pause(self, _, draw):
        control(self._node.run_dir, command="pause")
        time.sleep(0.1 + draw * 0.4)
        return control(self._node.run_dir, command="resume")

    def _do_cut(self, _, __):
        rows = self._node.database.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"  # not autovacuum's
        )
        return f"{len(rows)} connections"

    def _do_fault(self, name, draw):
        details = {
            "delay_replies": {"ms": int(50 + draw * 1500)},
            "silence": {"seconds": 1 + draw * 8},
            "freeze": {"seconds": 1 + draw * 5},
            "drop_reply": {"count": 1 + int(draw * 3)},
            "repeat_frame": {"count": 1 + int(draw * 3)},
        }.get(name, {})
        return self._simulator.fault(name, **details)
