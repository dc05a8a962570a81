"""What the system refuses, in words that say what to do about it."""

from __future__ import annotations

import errno
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_ROOM = "Make room there, or give Robot an --outputdir on another disk."
_NO_ACCESS = "Give Robot an --outputdir in which this user may create and change files."
_NO_PROCESS = "End processes or servers that are not needed, or raise the limits of this user."

_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)), _NO_ROOM),
    **dict.fromkeys(
        (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT), _NO_ACCESS
    ),
    **dict.fromkeys((errno.EAGAIN, errno.ENOMEM), _NO_PROCESS),
    errno.ESRCH: "Start its next life with `Restart Mock Server`.",
    errno.ENFILE: "The whole system has no file descriptors left: end programs that are not needed.",
}


@contextmanager
def clear_refusals(what: str) -> Iterator[None]:
    """Lets an OSError become a RuntimeError that begins with what failed and names the next step."""
    try:
        yield
    except OSError as failure:
        raise RuntimeError(f"{what}: {describe_refusal(failure)}") from failure


def describe_refusal(failure: OSError) -> str:
    """What was refused, and what to do."""
    said = failure.strerror or str(failure)
    where = f" ({failure.filename})" if failure.filename else ""
    if failure.errno == errno.EMFILE:
        advice = (
            f"This process has as many open as it may{_descriptor_limit()}: close servers and clients that are not "
            "needed, or raise the limit with ulimit -n."
        )
    else:
        advice = _ADVICE.get(failure.errno or 0, "")
    return " ".join(filter(None, [f"{said}{where}.", advice]))


def _descriptor_limit() -> str:
    if sys.platform == "win32":
        return ""
    import resource

    return f", which is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}"
