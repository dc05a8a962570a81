"""What goes wrong in the API: the texts and statuses of Toxiproxy 2.12."""

from __future__ import annotations


class ApiError(Exception):
    """Answered as ``{"error": …, "status": …}``."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


def bad_request(reason: object) -> ApiError:
    """The body is no JSON, or not the JSON that is needed."""
    return ApiError(f"bad request body: {reason}", 400)


def missing(field: str) -> ApiError:
    """A field that must be there is not."""
    return ApiError(f"missing required field: {field}", 400)


def proxy_not_found() -> ApiError:
    """No proxy has the name."""
    return ApiError("proxy not found", 404)


def proxy_exists() -> ApiError:
    """A proxy has the name already."""
    return ApiError("proxy already exists", 409)


def invalid_stream() -> ApiError:
    """A direction is neither ``upstream`` nor ``downstream``."""
    return ApiError("stream was invalid, can be either upstream or downstream", 400)


def invalid_toxic_type() -> ApiError:
    """There is no such toxic."""
    return ApiError("invalid toxic type", 400)


def toxic_exists() -> ApiError:
    """A toxic of the proxy has the name already."""
    return ApiError("toxic already exists", 409)


def toxic_not_found() -> ApiError:
    """No toxic of the proxy has the name."""
    return ApiError("toxic not found", 404)
