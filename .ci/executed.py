"""Counts the tests that ran: ``executed.py FILE=EXPECTED …`` with JUnit files and the least that each must have run.

Fails when a file has a failure or fewer executed tests; its last line is ``N passed, N failed``.
"""

from __future__ import annotations

import sys
from xml.etree import ElementTree


def main() -> int:
    """Prints a line a file and the sum."""
    passed = failed = 0
    too_few = False
    for argument in sys.argv[1:]:
        file, _, expected = argument.rpartition("=")
        root = ElementTree.parse(file).getroot()
        # Robot nests its suites and counts in the outermost; pytest puts its only suite into a list.
        suite = root if root.tag == "testsuite" else root[0]
        tests, skipped, failures, errors = (
            int(suite.get(count, 0)) for count in ("tests", "skipped", "failures", "errors")
        )
        executed = tests - skipped
        print(
            f"{file}: {executed} executed (at least {expected} expected), {skipped} skipped, {failures + errors} failed"
        )
        passed += executed - failures - errors
        failed += failures + errors
        too_few |= executed < int(expected)
    if too_few:
        print("Fewer tests were executed than expected.")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or too_few else 0


if __name__ == "__main__":
    sys.exit(main())
