"""What the library does when a test or suite ends. One listener per library instance; it minds only its own."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from robot.errors import ExecutionFailed
from robot.libraries.BuiltIn import BuiltIn

from ComfyMockLibrary.engine.deadline import now
from ComfyMockLibrary.types import TimelineLogging

if TYPE_CHECKING:
    from ComfyMockLibrary.keywords.session import Scope, Session


class RunListener:
    """Draws the timeline of a test, and closes what a test or suite opened."""

    ROBOT_LISTENER_API_VERSION = 3

    def __init__(self, library: object, session: Session, timeline: TimelineLogging | str) -> None:
        """Only stores: editors make instances too, and give every argument as text."""
        self._library = library
        self._session = session
        self._timeline = timeline
        self._test_has_ended = False

    def _start_suite(self, data: Any, result: Any) -> None:
        """Prepares for servers: the first comes as quickly as the others unless the suite begins with it."""
        if not BuiltIn().dry_run_active:
            self._session.servers.warm_up()

    def _start_test(self, data: Any, result: Any) -> None:
        self._session.test_began_at = now()
        self._test_has_ended = False

    def _end_test(self, data: Any, result: Any) -> None:
        if self._test_has_ended:  # Robot tells once for each name that the library was imported under
            return
        self._test_has_ended = True

        def ends(scope: Scope) -> bool:
            return scope.test is not None

        try:
            if self._is_to_be_drawn(result.status == "FAIL"):
                self._draw()
        finally:
            self._session.test_began_at = None
            self._session.close_all_of(ends)

    def _end_suite(self, data: Any, result: Any) -> None:
        ended = getattr(result, "full_name", None) or result.longname  # `full_name` is new in Robot Framework 7

        def ends(scope: Scope) -> bool:
            return bool(scope.suite == ended)

        self._session.close_all_of(ends)

    def _close(self) -> None:
        self._session.close()

    def _is_to_be_drawn(self, has_failed: bool) -> bool:
        mode = self._timeline
        if isinstance(mode, str):
            mode = TimelineLogging(mode.upper().replace(" ", "_"))
        wanted = mode is TimelineLogging.ALWAYS or (mode is TimelineLogging.ON_FAILURE and has_failed)
        return wanted and bool(self._session.journal_files())

    def _draw(self) -> None:
        """Runs the keyword as the last one of the test that ends: in old versions only keywords can log here."""
        libraries: Any = BuiltIn().get_library_instance(all=True)
        # It may have been imported under any name, and under several.
        name = next(name for name, library in libraries.items() if library is self._library)
        with suppress(ExecutionFailed):  # when the run is interrupted no keyword begins any more
            BuiltIn().run_keyword_and_ignore_error(f"{name}.Log Timeline")
