"""A server process that speaks ComfyUI's HTTP and websocket protocol without GPU or models.

Run it with ``python -m mockserver [PORT]``; any program can start it and steer it over HTTP.
"""

from mockserver.version import __version__

__all__ = ["__version__"]
