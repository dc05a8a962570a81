"""Failures that the library words itself.

Wrong use is ``ValueError``, a failed expectation ``AssertionError``, the environment ``RuntimeError``.
"""

from __future__ import annotations


class ExpectationFailed(AssertionError):
    """Something that was awaited or expected is not the case. Robot shows the text alone."""

    ROBOT_SUPPRESS_NAME = True
