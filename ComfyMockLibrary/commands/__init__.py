"""What ``python -m ComfyMockLibrary`` can do: one module a command, each with ``add_to`` and what it adds."""
