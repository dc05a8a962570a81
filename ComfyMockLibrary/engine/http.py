"""HTTP requests with one deadline over all that they do, however slowly the server answers."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine.client.wire import Abandoned, Patience, open_connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ComfyMockLibrary.engine.endpoint import Endpoint


class HttpError(RuntimeError):
    """A server could not be asked, or did not answer as it should."""


class NoAnswer(HttpError):
    """A server did not answer in time."""


@dataclass(frozen=True)
class Answer:
    """Answer to a request."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name."""

    def json(self) -> Any:
        """The body as JSON. Raises HttpError if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise HttpError(f"the answer is no JSON: {self.body[:80]!r}") from None


def ask(
    endpoint: Endpoint,
    method: str,
    path: str,
    patience: Patience,
    *,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Sends one request, ``body`` as JSON. Raises HttpError when no answer comes in time."""
    what = f"{method} {endpoint.url}{path}"
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port)
    try:
        connection.sock = open_connection(endpoint.host, endpoint.port, tls=endpoint.tls, patience=patience)
        content = None if body is None else json.dumps(body).encode()
        connection.request(
            method,
            f"{endpoint.path}{path}",
            body=content,
            headers={"Content-Type": "application/json", "Connection": "close", **(headers or {})},
        )
        with connection.getresponse() as response:
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, response.read(), headers)
    except TimeoutError:
        raise NoAnswer(f"{what}: no answer within {patience.deadline.timeout:g} s") from None
    except Abandoned:
        raise
    except Exception as failure:  # also lengths that no memory has, and headers that HTTP cannot carry
        raise HttpError(f"{what}: {failure or type(failure).__name__}") from failure
    finally:
        connection.close()


def ask_json(
    endpoint: Endpoint,
    method: str,
    path: str,
    patience: Patience,
    *,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """Sends one request and reads its answer as JSON. Raises HttpError also for any status but 200."""
    answer = ask(endpoint, method, path, patience, body=body, headers=headers)
    if answer.status != 200:
        excerpt = answer.body.decode(errors="replace")[:500]
        raise HttpError(f"{method} {endpoint.url}{path}: status {answer.status}, {excerpt}")
    return answer.json() if answer.body else None
