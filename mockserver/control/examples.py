"""An example of each kind of fault, for the documents that describe them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_AT_NODE_3 = {"event": "executing", "node": "3"}

EXAMPLES: tuple[Json, ...] = (
    {"fault": "crash", "when": _AT_NODE_3},
    {"fault": "stop", "after": 2},
    {"fault": "exit", "status": 77, "when": {"event": "connected", "nth": 2}},
    {"fault": "freeze", "thaw_after": 5, "when": {"event": "progress", "value": 10}},
    {"fault": "slow_start", "refused": 1, "unavailable": 2},
    {"fault": "refuse_connections", "established": "drop", "seconds": 5},
    {"fault": "ignore_connections", "seconds": 10},
    {"fault": "slow_accept", "delay": 3},
    {"fault": "flap", "down": 2, "up": 5},
    {"fault": "latency", "direction": "to_client", "delay": 0.2, "jitter": 0.05, "distribution": "normal"},
    {"fault": "bandwidth", "direction": "to_client", "rate": 16_000},
    {"fault": "slice", "direction": "to_client", "size": 10, "delay": 0.01},
    {"fault": "stall", "direction": "both", "loss": 0.05},
    {"fault": "hold_network", "direction": "both", "seconds": 20},
    {"fault": "silence", "direction": "to_client", "who": {"client_id": "me"}},
    {"fault": "cut", "direction": "to_client", "after_bytes": 1_000},
    {"fault": "stop_reading", "seconds": 10},
    {"fault": "reset_connections", "when": _AT_NODE_3},
    {"fault": "end_connections", "who": {"client_id": "me"}},
    {"fault": "half_close_connections", "who": {"client_id": "me", "connection": 1}},
    {"fault": "slow_close", "what": "close_reply", "delay": 2},
    {"fault": "refuse_upgrade", "status": 403, "times": 3},
    {"fault": "hang_upgrade", "times": 1},
    {"fault": "close_sockets", "code": 1012, "reason": "service restart"},
    {"fault": "pong", "answer": "none"},
    {"fault": "send_raw_frame", "frame": "bad_utf8"},
    {"fault": "drop_message", "message": "terminal", "times": 2, "who": {"client_id": "me"}},
    {"fault": "duplicate_message", "message": "executed"},
    {"fault": "delay_message", "message": "progress", "delay": 1, "probability": 0.2, "seed": 7},
    {"fault": "reorder_message", "message": "executing", "node": "3", "behind": 2},
    {"fault": "send_message", "type": "executing", "data": {"node": "7", "prompt_id": "nobody's"}},
    {"fault": "fail_request", "method": "POST", "path": "/prompt", "status": 429, "retry_after": 2, "times": 1},
    {"fault": "delay_request", "path": "/history/*", "delay": 3},
    {"fault": "hang_request", "path": "/queue", "nth": 2},
    {"fault": "truncate_answer", "path": "/view", "keep": 100},
    {"fault": "malform_json", "path": "/history/*", "times": 1},
    {"fault": "dribble_answer", "path": "/object_info", "size": 1_000, "delay": 0.1},
    {"fault": "empty_answer", "path": "/prompt"},
    {"fault": "wrong_content_type", "path": "/queue", "content_type": "text/html"},
    {"fault": "reset_request", "path": "/view"},
    {"fault": "fail_prompt", "class_type": "KSampler", "type": "OutOfMemoryError"},
    {"fault": "interrupt_prompt", "node": "3", "times": 1},
    {"fault": "hold_execution", "class_type": "KSampler", "value": 10},
    {"fault": "lose_queue", "when": _AT_NODE_3},
    {"fault": "lose_history"},
    {"fault": "forget_prompt"},
    {"fault": "delay_history", "delay": 2},
    {"fault": "skip_history", "times": 1},
    {"fault": "lose_output_files"},
    {"fault": "take_over_client_id", "client_id": "me", "seconds": 10},
)
