"""What to do about what went wrong: one line each."""

from __future__ import annotations

from typing import Literal, get_args

Reason = Literal[
    "ended",
    "not noticed",
    "no heartbeat",
    "no handshake limit",
    "not back",
    "not again",
    "slow",
    "other id",
    "flood",
    "impatient",
    "not queued",
    "gave up refused",
    "dropped",
    "twice",
    "not found",
    "waits for lost",
    "false success",
    "dead",
]

ADVICE: dict[Reason, str] = {
    "ended": "Catch what a lost connection raises where it is used, and connect anew: an outage is no reason to end.",
    "not noticed": "React to the end of the websocket, however it ends (also without a close frame): connect anew.",
    "no heartbeat": "Send pings, give the connection up when no pong comes in time, and connect anew: TCP alone may "
    "say nothing for hours.",
    "no handshake limit": "Give each attempt a time limit that covers the handshake too, not only the TCP connection.",
    "not back": "Try again until it works, with growing delays that have an upper limit, whatever the error was.",
    "not again": "Set everything up anew after a recovery (handlers, timers, flags), so that the next loss is noticed "
    "like the first.",
    "slow": "Limit the delay between attempts to some seconds, and reset it after each success.",
    "other id": "Give the same clientId in each handshake: the server sends the messages of a job to that id only.",
    "flood": "Wait before each attempt, longer each time, also when the answer is a refusal such as 403 or 400.",
    "impatient": "Wait as long as the header Retry-After says before the same server is asked again.",
    "not queued": "Queue the job as soon as the server can be asked: /prompt and /history work without a websocket.",
    "gave up refused": "Queue a prompt again that was refused with 429, after the time in Retry-After, or fail loudly.",
    "dropped": "Keep a connection that works: unknown, foreign or repeated messages and slow answers are no reason to "
    "drop it.",
    "twice": "Look into queue and history before a prompt is queued again: the server may have it already.",
    "not found": "Listen before you queue; ask /history/{prompt_id} after each connection, and now and then besides.",
    "waits for lost": "Ask /queue and /history/{prompt_id} after a reconnection: a job that is in neither is lost.",
    "false success": "Report success only with the result in hand: an empty history entry is no success.",
    "dead": "Give each request and each wait a time limit, so that a server that stands still cannot stop the client.",
}

assert set(ADVICE) == set(get_args(Reason))
