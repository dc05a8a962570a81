"""Client of the control API of one life: sets and clears faults in it, reads its journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from ComfyMockLibrary.engine.client.wire import Patience
from ComfyMockLibrary.engine.deadline import SLICE
from ComfyMockLibrary.engine.endpoint import Endpoint
from ComfyMockLibrary.engine.http import Answer, HttpError, ask
from ComfyMockLibrary.engine.records import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ComfyMockLibrary.engine.client.wire import HasFileno
    from ComfyMockLibrary.engine.servers import Life

Json = dict[str, Any]

TIMEOUT = 30.0
"""Seconds after which an answer counts as none. It takes a millisecond, unless the machine has other things to do."""


class ControlFailure(RuntimeError):
    """A life has not taken an order: it has ended, is frozen, or does not answer. Robot shows the text alone."""

    ROBOT_SUPPRESS_NAME = True


class NotKnown(LookupError):
    """The life knows no such fault."""


class _PatienceWithLife(Patience):
    """Ends early when the life does, or when it freezes, as it may in the middle of an order."""

    def __init__(self, timeout: float, life: Life) -> None:
        super().__init__(timeout)
        self._life = life

    def wait(self, sock: HasFileno, event: int) -> None:
        while True:
            try:
                return Patience(min(SLICE, self.deadline.remaining)).wait(sock, event)
            except TimeoutError:
                if self.deadline.expired or not self._life.is_running or self._life.is_frozen:
                    raise


class Control:
    """Gives orders to one life. Each call raises ControlFailure when they do not reach it."""

    def __init__(self, alias: str, life: Life) -> None:
        """``alias`` names the server in messages."""
        self._alias = alias
        self._life = life

    def set_fault(self, description: Mapping[str, Any]) -> Json:
        """Sets a fault, and returns how it stands. Raises ValueError for a description that is none."""
        return self._json("POST", "/faults", description)

    def faults(self) -> list[Json]:
        """All faults of the life and how they stand, those included that others have set."""
        faults: list[Json] = self._json("GET", "/faults")["faults"]
        return faults

    def clear_fault(self, fault_id: str) -> Json:
        """Clears a fault: what it held back goes on. Raises NotKnown."""
        return self._json("DELETE", f"/faults/{quote(fault_id, safe='')}")

    def clear_all_faults(self) -> list[Json]:
        """Clears all faults, those included that others have set, and returns them."""
        faults: list[Json] = self._json("DELETE", "/faults")["faults"]
        return faults

    def release(self, what: str) -> list[Json]:
        """Lets go on what is held: ``execution`` or ``network``. Returns the faults that held it."""
        faults: list[Json] = self._json("POST", "/release", {"what": what})["faults"]
        return faults

    def journal(self, since: int = 0, *, kind: str | None = None, wait: float = 0.0) -> Json:
        """The records from a position on, with the position behind them as ``next``; waits for one if there is none."""
        query = {"since": since, "wait": wait, **({} if kind is None else {"kind": kind})}
        return self._json("GET", f"/journal?{urlencode(query)}", timeout=TIMEOUT + wait)

    def _json(self, method: str, path: str, body: object = None, *, timeout: float = TIMEOUT) -> Json:
        answer = self._ask(method, path, body, timeout)
        try:
            content = answer.json()
        except HttpError as failure:
            raise self._failure(str(failure)) from failure
        if answer.status in (200, 201):
            return dict(content)
        message = content.get("error") if isinstance(content, dict) else None
        if answer.status == 400:
            raise ValueError(message)
        if answer.status == 404:
            raise NotKnown(message)
        raise self._failure(f"{method} {path}: status {answer.status}, {message}")

    def _ask(self, method: str, path: str, body: object, timeout: float) -> Answer:
        self._require_ears()
        token = self._life.control_token
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            return ask(
                Endpoint.of_url(self._life.control_url),
                method,
                path,
                _PatienceWithLife(timeout, self._life),
                body=body,
                headers=headers,
            )
        except HttpError as failure:
            self._require_ears()
            raise self._failure(str(failure)) from failure

    def _require_ears(self) -> None:
        if not self._life.is_running:
            raise ControlFailure(
                f"The mock server {self._alias!r} does not run: {self._life.describe()}. "
                "Start its next life with `Restart Mock Server`."
            )
        if self._life.is_frozen:
            raise ControlFailure(
                f"The mock server {self._alias!r} is frozen (pid {self._life.pid}) and takes no orders. "
                "Let it go on with `Thaw Mock Server`."
            )

    def _failure(self, what: str) -> ControlFailure:
        return ControlFailure(
            f"The mock server {self._alias!r} has not taken the order: {what}. It is {self._life.describe()}. "
            f"Log: {shown(self._life.log_file)}."
        )
