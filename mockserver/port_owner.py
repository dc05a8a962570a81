"""Who has a port: for messages that say why it cannot be had."""

from __future__ import annotations

from contextlib import suppress


def owner_of(port: int) -> str:
    """The process that listens on a TCP port, as far as the system tells."""
    import psutil  # not at every start: it costs 20 ms

    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            is_it = connection.status == psutil.CONN_LISTEN and getattr(connection.laddr, "port", None) == port
            if is_it and connection.pid is not None:
                return _describe(connection.pid)
    return "another process (the system does not tell which)"


def _describe(pid: int) -> str:
    import psutil

    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return f"process {pid} ({' '.join(process.cmdline()) or process.name()})"
    return f"process {pid}"
