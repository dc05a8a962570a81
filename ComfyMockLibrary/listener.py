"""Closes what a test or suite opened when it ends. One listener per library instance; it closes only its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ComfyMockLibrary.keywords.session import Scope, Session


class ClosingListener:
    """Listens to the run that the library is used in."""

    ROBOT_LISTENER_API_VERSION = 3

    def __init__(self, session: Session) -> None:
        self._session = session

    def _end_test(self, data: Any, result: Any) -> None:
        def ends(scope: Scope) -> bool:
            return scope.test is not None

        self._session.close_all_of(ends)

    def _end_suite(self, data: Any, result: Any) -> None:
        ended = getattr(result, "full_name", None) or result.longname  # `full_name` is new in Robot Framework 7

        def ends(scope: Scope) -> bool:
            return bool(scope.suite == ended)

        self._session.close_all_of(ends)

    def _close(self) -> None:
        self._session.close()
