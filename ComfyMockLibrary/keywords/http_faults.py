"""Keywords for faults of HTTP requests and their answers. Websocket handshakes have keywords of their own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from ComfyMockLibrary.engine.faults import Fault
from ComfyMockLibrary.keywords.fault_keyword import CLIENT, LASTING, MATCHES, FaultComponent, fault_keyword
from ComfyMockLibrary.quantities import Size
from ComfyMockLibrary.types import HttpMethod

ONE_BYTE = Size(1)
REQUESTS = (*MATCHES, *CLIENT, *LASTING)


class HttpFaultKeywords(FaultComponent):
    """Faults of HTTP."""

    @fault_keyword(*REQUESTS, tag="HTTP")
    def fail_request(
        self,
        method: HttpMethod = HttpMethod.ANY,
        path: str | None = None,
        *,
        status: int = 500,
        retry_after: timedelta | None = None,
        body: str = "",
        content_type: str = "text/plain",
        **common: Any,
    ) -> Fault:
        """Lets requests be answered with a status, and not be carried out.

        *Args:*
          - ``method``: Method of the requests.
          - ``path``: Their path, the same with and without ``/api``; ``*`` stands for anything. Any if left out.
          - ``status``: HTTP status of the answer.
          - ``retry_after``: Value of the header ``Retry-After``. None is sent if left out.
          - ``body``: Text of the answer.
          - ``content_type``: Its content type.

        Examples:
        | `Fail Request`    POST    /prompt    status=503    retry_after=2 s    times=2
        | `Fail Request`    path=/history*    status=404
        """
        return self._set_on_requests(
            "fail_request",
            (method, path),
            common,
            status=status,
            retry_after=retry_after,
            body=body,
            content_type=content_type,
        )

    @fault_keyword(*REQUESTS, tag="HTTP")
    def delay_request(
        self, delay: timedelta, method: HttpMethod = HttpMethod.ANY, path: str | None = None, **common: Any
    ) -> Fault:
        """Lets requests be carried out and answered later.

        *Args:*
          - ``delay``: How much later.
          - ``method``: Method of the requests.
          - ``path``: Their path, the same with and without ``/api``; ``*`` stands for anything. Any if left out.

        Example:
        | `Delay Request`    500 ms    GET    /queue
        """
        return self._set_on_requests("delay_request", (method, path), common, delay=delay)

    @fault_keyword(*REQUESTS, tag="HTTP")
    def hang_request(self, method: HttpMethod = HttpMethod.ANY, path: str | None = None, **common: Any) -> Fault:
        """Lets requests get no answer until the fault ends.

        *Args:*
          - ``method``: Method of the requests.
          - ``path``: Their path, the same with and without ``/api``; ``*`` stands for anything. Any if left out.

        Example:
        | `Hang Request`    GET    /queue
        | `Connection Should Not Be Valid`    timeout=500 ms
        """
        return self._set_on_requests("hang_request", (method, path), common)

    @fault_keyword(*REQUESTS, tag="HTTP")
    def truncate_answer(
        self,
        method: HttpMethod = HttpMethod.ANY,
        path: str | None = None,
        *,
        keep: Size | None = None,
        **common: Any,
    ) -> Fault:
        """Lets answers announce their whole length, and the connection end before it.

        *Args:*
          - ``method``: Method of the requests.
          - ``path``: Their path, the same with and without ``/api``; ``*`` stands for anything. Any if left out.
          - ``keep``: How much of the body is sent. Half of it if left out.

        Example:
        | `Truncate Answer`    GET    /view    keep=100
        """
        return self._set_on_requests("truncate_answer", (method, path), common, keep=keep)

    @fault_keyword(*REQUESTS, tag="HTTP")
    def malform_json(self, method: HttpMethod = HttpMethod.ANY, path: str | None = None, **common: Any) -> Fault:
        """Lets answers be whole for HTTP, but their JSON break off.

        *Args:*
          - ``method``: Method of the requests.
          - ``path``: Their path, the same with and without ``/api``; ``*`` stands for anything. Any if left out.

        Example:
        | `Malform Json`    GET    /history*
        """
        return self._set_on_requests("malform_json", (method, path), common)

    @fault_keyword(*REQUESTS, tag="HTTP")
    def dribble_answer(
        self,
        method: HttpMethod = HttpMethod.ANY,
        path: str | None = None,
        *,
        size: Size = ONE_BYTE,
        delay: timedelta = timedelta(milliseconds=50),
        **common: Any,
    ) -> Fault:
        """Lets answers come in small pieces.

        *Args:*
          - ``method``: Method of the requests.
          - ``path``: Their path, the same with and without ``/api``; ``*`` stands for anything. Any if left out.
          - ``size``: Size of a piece.
          - ``delay``: Time between two pieces.

        Example:
        | `Dribble Answer`    GET    /object_info    size=1 kB    delay=10 ms
        """
        return self._set_on_requests("dribble_answer", (method, path), common, size=size, delay=delay)

    @fault_keyword(*REQUESTS, tag="HTTP")
    def empty_answer(self, method: HttpMethod = HttpMethod.ANY, path: str | None = None, **common: Any) -> Fault:
        """Lets requests be carried out, and answered with their status and no body.

        *Args:*
          - ``method``: Method of the requests.
          - ``path``: Their path, the same with and without ``/api``; ``*`` stands for anything. Any if left out.

        Example:
        | `Empty Answer`    POST    /prompt
        """
        return self._set_on_requests("empty_answer", (method, path), common)

    @fault_keyword(*REQUESTS, tag="HTTP")
    def falsify_content_type(
        self,
        method: HttpMethod = HttpMethod.ANY,
        path: str | None = None,
        *,
        content_type: str = "text/html; charset=utf-8",
        **common: Any,
    ) -> Fault:
        """Lets answers have their body, under another content type.

        *Args:*
          - ``method``: Method of the requests.
          - ``path``: Their path, the same with and without ``/api``; ``*`` stands for anything. Any if left out.
          - ``content_type``: The other content type.

        Example:
        | `Falsify Content Type`    GET    /queue    content_type=text/plain
        """
        return self._set_on_requests("wrong_content_type", (method, path), common, content_type=content_type)

    @fault_keyword(*REQUESTS, tag="HTTP")
    def reset_request(
        self,
        method: HttpMethod = HttpMethod.ANY,
        path: str | None = None,
        *,
        keep: Size | None = None,
        **common: Any,
    ) -> Fault:
        """Lets the connection be reset in the middle of the answer.

        *Args:*
          - ``method``: Method of the requests.
          - ``path``: Their path, the same with and without ``/api``; ``*`` stands for anything. Any if left out.
          - ``keep``: How much of the body is sent before. Half of it if left out.

        Example:
        | `Reset Request`    POST    /prompt    times=1
        """
        return self._set_on_requests("reset_request", (method, path), common, keep=keep)

    def _set_on_requests(
        self, name: str, which: tuple[HttpMethod, str | None], common: Mapping[str, Any], **fields: Any
    ) -> Fault:
        method, path = which
        return self.set_fault(name, common, method=None if method is HttpMethod.ANY else method, path=path, **fields)
