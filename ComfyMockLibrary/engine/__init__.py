"""Servers as processes, clients as threads, waits and evidence, without Robot Framework.

Usable from plain Python and pytest: start with ``ServerManager`` and ``ComfyClient``.
"""
