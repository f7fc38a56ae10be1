"""Waiting with a deadline, in one place. It never waits for a fixed time."""

import time


class TimedOut(AssertionError):
    """What was waited for did not happen in time."""


def wait_until(check, what, timeout_s=10.0, every_s=0.02):
    """Call check() until it returns something true, and return that.

    what       completes "waited 10 s for ..."; a callable is asked for it at
               the end, so that it can tell the last state
    timeout_s  generous: a bound against hanging, not a measure of speed
    """
    deadline = time.monotonic() + timeout_s
    while True:
        got = check()
        if got:
            return got
        if time.monotonic() >= deadline:
            text = what() if callable(what) else what
            raise TimedOut(f"waited {timeout_s:g} s for {text}")
        time.sleep(every_s)
