"""What a tester reads of a client that does not do well: one failing case for each keyword of evidence.

The documentation of each test in the suites below is the message that it must fail with, a sentence a line. The
passing cases are in ``robot/evidence.robot``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from failing_suites import should_fail_as_documented
from robot_run import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

CLIENT = PROJECT / "tests" / "clients" / "own" / "evidence_client.py"

HEAD = """\
*** Settings ***
Library       ComfyMockLibrary    timeout=60 s
Test Setup    Start Mock Server    alias=main    node_duration=0 s    status_interval=0 s

*** Variables ***
${LOG}         Log: results/comfymock/main-life-1.log.
${RUNS}        Server: running, pid PID. ${LOG}
${REFUSES}     Server: running, pid PID. Faults: refuse_upgrade-1 (active, struck MANY times). ${LOG}
${FAILS}       Server: running, pid PID. Faults: fail_request-1 (active, struck once). ${LOG}
${RUNS ON}     Server: running, pid PID. Log: results/comfymock/main-life-2.log.
${DOWN}        Server: ended with SIGKILL. ${LOG}
...            The server is down: start its next life with `Restart Mock Server`.
${REFUSED}     refused while the server was down (after TIME)

*** Keywords ***
Have A Client
    [Arguments]    @{options}
    Start Client Process    ${PYTHON}    ${CLIENT}    {url}    --client-id    mine    @{options}
    Wait For Client On Server

Wait For Attempts
    [Arguments]    ${number}
    Wait Until Keyword Succeeds    60 s    50 ms    Get Reconnect Attempts    >=    ${number}

Come Back After Attempts
    [Arguments]    ${number}
    Kill Mock Server    signal=SIGKILL    watch_attempts=yes
    Wait For Attempts    ${number}
    Restart Mock Server
    Wait For Client On Server

Crash And Come Back
    [Arguments]    @{options}    &{named}
    Restart Mock Server    signal=SIGKILL    &{named}
    Wait For Client On Server

*** Test Cases ***
"""


def test_websockets(tmp_path: Path) -> None:
    should_fail(
        tmp_path,
        """
Nobody Comes
    [Documentation]    A websocket of a client did not open within 0.2 s.
    ...    No sockets are recorded.
    ...    ${RUNS}
    Wait For Client On Server    timeout=200 ms

Somebody Else Comes
    [Documentation]    A websocket of the client 'yours' with user-agent: node* did not open within 0.2 s.
    ...    Recorded sockets: socket 1 of 'mine' in life 1: open.
    ...    ${RUNS}
    Have A Client
    Wait For Client On Server    timeout=200 ms    client_id=yours    header=User-Agent: node*

One Comes And Two Are Awaited
    [Documentation]    A second websocket of a client did not open within 0.2 s.
    ...    Recorded sockets: socket 1 of 'mine' in life 1: ended with its life;
    ...    socket 1 of 'mine' in life 2: open.
    ...    ${RUNS ON}
    Have A Client
    Crash And Come Back
    Wait For Client On Server    timeout=200 ms    nth=2

Header Is None
    [Documentation]    ValueError: 'User-Agent' is no header; give for example User-Agent: node*.
    Wait For Client On Server    header=User-Agent

Id Is Forgotten
    [Documentation]    The client id should be kept but 2 were given: 'CLIENT', 'CLIENT'.
    ...    Recorded sockets: socket 1 of 'CLIENT' in life 1: ended with its life;
    ...    socket 1 of 'CLIENT' in life 2: open.
    ...    ${RUNS ON}
    Have A Client    --forgets-id
    Crash And Come Back
    Client Id Should Be Kept

There Is No Id
    [Documentation]    The client id should be kept but no websocket was opened.
    ...    No requests are recorded.
    ...    ${RUNS}
    Client Id Should Be Kept

Number Of Websockets
    [Documentation]    Number of websockets '1' (int) should be '2' (int)
    Have A Client
    Get Recorded Sockets    ==    2
""",
    )


def test_reconnection(tmp_path: Path) -> None:
    should_fail(
        tmp_path,
        """
Nothing Was Lost
    [Documentation]    Client should have reconnected within 0.2 s but has not lost a websocket.
    ...    Recorded sockets: socket 1 of 'mine' in life 1: open.
    ...    ${RUNS}
    Have A Client
    Client Should Have Reconnected    timeout=200 ms

It Was Lost Less Often
    [Documentation]    Client should have reconnected within 0.2 s but has not lost its websocket 2 times but once.
    ...    Recorded sockets: socket 1 of 'mine' in life 1: ended with its life;
    ...    socket 1 of 'mine' in life 2: open.
    ...    ${RUNS ON}
    Have A Client
    Crash And Come Back
    Client Should Have Reconnected    timeout=200 ms    nth=2

It Stays Away
    [Documentation]    Client should have reconnected within 0.2 s but has not.
    ...    No attempt is recorded since it lost its websocket.
    ...    While the server is down attempts are seen only with `Kill Mock Server watch_attempts=yes`.
    ...    ${RUNS ON}
    Have A Client    --stays-away
    Restart Mock Server    signal=SIGKILL
    Client Should Have Reconnected    timeout=200 ms

Server Stays Down
    [Documentation]    Client should have reconnected within 0.2 s but has not.
    ...    Attempts since it lost its websocket: …;
    ...    ${REFUSED};
    ...    ${REFUSED};
    ...    ${REFUSED};
    ...    ${REFUSED};
    ...    ${REFUSED}.
    ...    ${DOWN}
    Have A Client    --base    0.05
    Kill Mock Server    signal=SIGKILL    watch_attempts=yes
    Wait For Attempts    6
    Client Should Have Reconnected    timeout=200 ms

Websocket Is Refused
    [Documentation]    Client should have reconnected within 0.2 s but has not.
    ...    Attempts since it lost its websocket: …;
    ...    503 in life 1 (after TIME);
    ...    503 in life 1 (after TIME);
    ...    503 in life 1 (after TIME);
    ...    503 in life 1 (after TIME);
    ...    503 in life 1 (after TIME).
    ...    ${REFUSES}
    Have A Client    --base    0.05
    Refuse Upgrade
    Reset Connections
    Wait For Attempts    6
    Client Should Have Reconnected    timeout=200 ms

Too Many Attempts Are Needed
    [Documentation]    Client should have reconnected with at most 3 attempts but needed MANY.
    ...    Attempts since it lost its websocket: …;
    ...    ${REFUSED};
    ...    ${REFUSED};
    ...    ${REFUSED};
    ...    ${REFUSED};
    ...    connected in life 2 (after TIME).
    ...    ${RUNS ON}
    Have A Client    --base    0.05
    Come Back After Attempts    5
    Client Should Have Reconnected    max_attempts=3

Number Of Attempts
    [Documentation]    Reconnect attempts '1' (int) should be greater than '1' (int)
    Have A Client
    Crash And Come Back
    Get Reconnect Attempts    >    1

Delays Do Not Grow
    [Documentation]    Backoff should be exponential with delays of TIMES (tolerance 60%) but the delays were TIMES.
    ...    They look constant with base=TIME.
    Have A Client    --base    0.2
    Come Back After Attempts    8
    Backoff Should Be    exponential    base=200 ms    maximum=60 s    tolerance=60%

Delays Are Too Few
    [Documentation]    Backoff should be linear but cannot be told from 0 delays: let the client try more often.
    ...    While the server is down attempts are seen only with `Kill Mock Server watch_attempts=yes`.
    Have A Client    --stays-away
    Restart Mock Server    signal=SIGKILL
    Backoff Should Be    linear    base=300 ms

Server Is Flooded
    [Documentation]    Client should make at most 5 attempts to connect in a second but has made MANY.
    ...    A client without a growing delay between attempts hinders a server that comes back.
    Have A Client    --base    0.02
    Come Back After Attempts    30
    Client Should Not Flood    max_rate=5

Server Is Flooded With Requests
    [Documentation]    Client should make at most 0.5 requests in a second but has made MANY.
    ...    A client without a growing delay between attempts hinders a server that comes back.
    Have A Client
    Client Should Not Flood    max_rate=0.5    all_requests=yes
""",
    )


def test_prompts_and_requests(tmp_path: Path) -> None:
    should_fail(
        tmp_path,
        """
Prompt Is Sent Again
    [Documentation]    Each prompt should have been sent once but one was sent 2 times: POST /prompt (200, life 1);
    ...    POST /prompt (200, life 2).
    ...    ${RUNS ON}
    Have A Client    --job    --sends-again
    Mock Server Should Have Received    POST    /prompt    status=200    timeout=60 s
    Crash And Come Back
    Mock Server Should Have Received    POST    /prompt    status=200    life=2    timeout=60 s
    Prompt Should Have Been Sent Once

Prompt Is Not Sent
    [Documentation]    A prompt should have been sent once but none was sent.
    ...    Recorded requests: GET /ws (101, life 1).
    ...    ${RUNS}
    Have A Client
    Prompt Should Have Been Sent Once

Prompt Is Refused
    [Documentation]    A prompt should have been sent once but none was accepted.
    ...    Recorded prompts: POST /prompt (429, life 1).
    ...    ${FAILS}
    Fail Request    POST    /prompt    status=429
    Have A Client    --job    --base    3600
    Mock Server Should Have Received    POST    /prompt    status=429    timeout=60 s
    Prompt Should Have Been Sent Once

Prompt Is Unknown
    [Documentation]    Prompt 'nothing' should have been sent once but was not sent.
    ...    No requests are recorded.
    ...    ${RUNS}
    Prompt Should Have Been Sent Once    nothing

Request Has Another Method
    [Documentation]    Mock server should have received PUT /prompt once but has never received it.
    ...    1 request came close: POST /prompt (200, life 1).
    ...    ${RUNS}
    Have A Client    --job
    Client Should Have Fetched Result    timeout=60 s
    Mock Server Should Have Received    PUT    /prompt    times=1

Request Has Another Path
    [Documentation]    Mock server should have received POST /promt but has never received it.
    ...    1 request came close: POST /prompt (200, life 1).
    ...    ${RUNS}
    Have A Client    --job
    Client Should Have Fetched Result    timeout=60 s
    Mock Server Should Have Received    POST    /promt

Request Has Another Answer
    [Documentation]    Mock server should have received POST /prompt answered with 400 in life 1 but has never received
    ...    it.
    ...    1 request came close: POST /prompt (200, life 1).
    ...    ${RUNS}
    Have A Client    --job
    Client Should Have Fetched Result    timeout=60 s
    Mock Server Should Have Received    POST    /prompt    status=400    life=-1

Nothing Comes Close
    [Documentation]    Mock server should have received POST /upload/image within 0.2 s but has never received it.
    ...    Recorded requests: GET /ws (101, life 1).
    ...    ${RUNS}
    Have A Client
    Mock Server Should Have Received    POST    /upload/image    timeout=200 ms

Request Comes Too Often
    [Documentation]    Mock server should have received GET /ws once but has received it 2 times: GET /ws (101, life 1);
    ...    GET /ws (101, life 2).
    ...    ${RUNS ON}
    Have A Client
    Crash And Come Back
    Mock Server Should Have Received    GET    /ws    times=1

Result Is Not Fetched
    [Documentation]    Client should have fetched the result of a prompt within 0.2 s but has not.
    ...    Recorded requests: GET /ws (101, life 1);
    ...    POST /prompt (200, life 1).
    ...    ${RUNS}
    Have A Client    --job    --ignores-result
    Mock Server Should Have Received    POST    /prompt    status=200    timeout=60 s
    Client Should Have Fetched Result    timeout=200 ms

Result Of Another Prompt Is Fetched
    [Documentation]    Client should have fetched the result of prompt 'other' within 0.2 s but has not.
    ...    1 request came close: GET /history/PROMPT (200, life 1).
    ...    ${RUNS}
    Have A Client    --job
    Client Should Have Fetched Result    timeout=60 s
    Client Should Have Fetched Result    other    timeout=200 ms

Number Of Requests
    [Documentation]    Number of requests '0' (int) should be '1' (int)
    Get Recorded Requests    ==    1    path=/prompt

Number Of Messages
    [Documentation]    The client says nothing.
    Get Recorded Messages    >    0    The client says nothing.    type=feature_flags

Life Is None
    [Documentation]    ValueError: The mock server 'main' has no life 2; give 1 for its first of 1, or -1 for the
    ...    latest.
    Get Recorded Requests    life=2
""",
    )


def should_fail(directory: Path, tests: str) -> None:
    variables = ("--variable", f"PYTHON:{sys.executable}", "--variable", f"CLIENT:{CLIENT}")
    should_fail_as_documented(directory, HEAD + tests.lstrip(), *variables)
