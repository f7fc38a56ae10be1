"""Reports of AddressSanitizer and UBSan: where they go, and reading them.

Each process writes to a file of its own, for a report among the lines of a
log is overlooked. A folder without such files is what a test must leave. But
gcc's UBSan, linked beside ASan, writes to standard error whatever its log_path
says: so the logs are searched too.
"""

import os
import re


def environment(folder, leaks=True):
    """os.environ with the sanitizers' reports sent to `folder`. To look for
    leaks takes a program longer than to begin and end: not worth it for one
    of the tests' own that runs again and again."""
    env = dict(os.environ)
    env["ASAN_OPTIONS"] = ":".join(
        (
            "halt_on_error=1",
            f"detect_leaks={int(leaks)}",
            "detect_stack_use_after_return=1",
            "strict_string_checks=1",
            "disable_coredump=1",
            f"log_path={folder}/asan",
        )
    )
    env["UBSAN_OPTIONS"] = ":".join(
        ("halt_on_error=1", "print_stacktrace=1", f"log_path={folder}/ubsan")
    )
    env["LSAN_OPTIONS"] = "report_objects=1"
    return env


# What LeakSanitizer says of a process that was killed in the middle of its
# look for leaks, such as a helper of the master's: no finding.
NO_FINDING = re.compile(r"==\d+==Unable to get registers from thread \d+\.\n")


def reports(folder):
    """The text of every report in `folder`."""
    found = []
    for path in sorted(folder.iterdir()):
        text = path.read_text(encoding="utf-8", errors="replace")
        text = NO_FINDING.sub("", text)
        if text.strip():
            found.append(f"{path.name}:\n{text}")
    return found


def reports_in(text):
    """The lines of UBSan's reports in what a process wrote."""
    return re.findall(r".*runtime error: .*", text)
