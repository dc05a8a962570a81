"""What a tester reads when an expectation is not met, or a keyword was used the wrong way.

The documentation of each test in the suites below is the message that it must fail with, a sentence a line.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from failing_suites import should_fail_as_documented
from robot_run import BEFORE_IT_LISTENS, servers_held_at

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HEAD = """\
*** Settings ***
Library       ComfyMockLibrary    timeout=200 ms    startup_timeout=60 s    shutdown_timeout=60 s
Test Setup    Have A Server And A Client

*** Variables ***
${CONNECTED}       connected life_id=LIFE client_id=CLIENT (TIME ago);
...                status status.exec_info.queue_remaining=0 sid=CLIENT (TIME ago)
${LOST}            ${CONNECTED};
...                disconnected code=1001 reason=server shutting down cause=close frame (TIME ago);
...                reconnecting attempt=1 delay=3600 (TIME ago)
${PROMPT ENDED}    executed node=3 display_node=3 output.images=[…] prompt_id=PROMPT (TIME ago);
...                progress_state prompt_id=PROMPT nodes={…} (TIME ago);
...                execution_success prompt_id=PROMPT timestamp=TIME (TIME ago);
...                status status.exec_info.queue_remaining=0 (TIME ago);
...                executing node=None prompt_id=PROMPT (TIME ago)
${IS CONNECTED}    Seen: client 'one' is connected; last events: ${CONNECTED}.
${IS LOST}         Seen: client 'one' is reconnecting; last events: ${LOST}.
${HAD PROMPT}      Seen: client 'one' is connected; last events: ${PROMPT ENDED}.
${LOG}             Log: results/comfymock/main-life-1.log.
${RUNS}            Server: running, pid PID. ${LOG}
${FROZEN}          Server: frozen, pid PID. ${LOG}
...                The server is frozen: let it go on with `Thaw Mock Server`.
${STOPPED}         Server: ended with exit status 0. ${LOG}
...                The server is down: start its next life with `Restart Mock Server`.

*** Keywords ***
Have A Server And A Client
    [Arguments]    @{options}
    Start Mock Server    --status-interval    0    @{options}    alias=main
    Connect Client    alias=one    base_delay=1 hour    max_delay=1 hour    connect_timeout=1 hour    timeout=10 s
    Wait For Event    status    timeout=10 s

Have A Prompt That Has Ended
    Queue Prompt    timeout=10 s
    Wait For Event    executing    node=None    timeout=10 s

Have A Prompt That Runs
    Have A Server And A Client    --node-duration    3600
    Queue Prompt    timeout=10 s
    Wait For Event    progress_state    timeout=10 s
    Wait For Event    executing    node=1    timeout=10 s

Lose The Connection
    Kill Mock Server
    Wait For Disconnection    timeout=10 s

*** Test Cases ***
"""


def test_waiting_for_an_event(tmp_path: Path) -> None:
    failures_should_be_as_documented(
        tmp_path,
        """
Nothing Came
    [Documentation]    Event 'executed' did not come within 0.2 s.
    ...    ${IS CONNECTED}
    ...    0 events since position 2.
    ...    ${RUNS}
    Wait For Event    executed

It Came Earlier
    [Documentation]    Event 'executed' with node=3 did not come within 0.2 s.
    ...    ${HAD PROMPT}
    ...    0 events since position MANY.
    ...    ${RUNS}
    ...    One came earlier, at position MANY; give since=start to look at all events.
    Have A Prompt That Has Ended
    Wait For Event    executed    node=3

It Came With Other Fields
    [Documentation]    Event 'executed' with node=7, output.images=None did not come within 0.2 s.
    ...    ${HAD PROMPT}
    ...    MANY events since the start.
    ...    ${RUNS}
    ...    The nearest was: executed node=3 display_node=3 output.images=[…] prompt_id=PROMPT.
    Have A Prompt That Has Ended
    Wait For Event    executed    since=start    node=7    output.images=None

It Came From The Other Source
    [Documentation]    Event 'status' did not come within 0.2 s.
    ...    ${IS CONNECTED}
    ...    2 events since the start.
    ...    ${RUNS}
    ...    One came from the server; give source=server to take it.
    Wait For Event    status    since=start    source=client

Server Is Down
    [Documentation]    Event 'executed' did not come within 0.2 s.
    ...    ${IS LOST}
    ...    1 event since position 3.
    ...    ${STOPPED}
    Lose The Connection
    Wait For Event    executed

Server Is Frozen
    [Documentation]    Event 'executed' did not come within 0.2 s.
    ...    ${IS CONNECTED}
    ...    0 events since position 2.
    ...    ${FROZEN}
    Freeze Mock Server
    Wait For Event    executed

Client Is Disconnected
    [Documentation]    Event 'executed' did not come within 0.2 s.
    ...    Seen: client 'one' is disconnected; last events: ${CONNECTED}; disconnected code=1001
    ...    reason=server shutting down cause=close frame (TIME ago);
    ...    reconnecting attempt=1 delay=3600 (TIME ago);
    ...    reconnection_aborted attempts=1 (TIME ago).
    ...    0 events since position 5.
    ...    Server: running, pid PID.
    ...    Log: results/comfymock/main-life-2.log.
    ...    The client does not try to connect: use `Reconnect Client`.
    Lose The Connection
    Abort Reconnect
    Restart Mock Server
    Wait For Event    executed

Client Is Connected To A Url
    [Documentation]    Event 'executed' did not come within 0.2 s.
    ...    Seen: client 'two' is connected; last events: ${CONNECTED}.
    ...    0 events since position 2.
    ${server} =    Get Mock Server
    Connect Client    url=${server.url}    alias=two    timeout=10 s
    Wait For Event    status    timeout=10 s
    Wait For Event    executed
""",
    )


def test_waiting_for_a_connection(tmp_path: Path) -> None:
    failures_should_be_as_documented(
        tmp_path,
        """
Server Is Down
    [Documentation]    Connection to life 1 (LIFE) did not happen within 0.2 s.
    ...    ${IS LOST}
    ...    4 events since the start.
    ...    ${STOPPED}
    Lose The Connection
    Wait For Connection

Server Is Frozen
    [Documentation]    Connection to life 1 (LIFE) did not happen within 0.2 s.
    ...    Seen: client 'one' is reconnecting; last events: ${CONNECTED}; disconnected code=1000
    ...    reason= cause=reconnection asked for (TIME ago);
    ...    reconnecting attempt=1 delay=0 (TIME ago).
    ...    4 events since the start.
    ...    ${FROZEN}
    Freeze Mock Server
    Reconnect Client
    Wait For Connection

Server Lives On In Another Life
    [Documentation]    Connection to life 2 (LIFE) did not happen, and is not tried any more.
    ...    Seen: client 'one' is disconnected; last events: ${CONNECTED}; disconnected code=1001
    ...    reason=server shutting down cause=close frame (TIME ago);
    ...    reconnecting attempt=1 delay=3600 (TIME ago);
    ...    reconnection_aborted attempts=1 (TIME ago).
    ...    5 events since the start.
    ...    Server: running, pid PID.
    ...    Log: results/comfymock/main-life-2.log.
    ...    The client does not try to connect: use `Reconnect Client`.
    Lose The Connection
    Abort Reconnect
    Restart Mock Server
    Wait For Connection

Connection Is Older
    [Documentation]    Connection to life 1 (LIFE) did not happen within 0.2 s.
    ...    ${IS CONNECTED}
    ...    0 events since position 2.
    ...    ${RUNS}
    ...    The connection that is open is older than the event given as since.
    ${event} =    Wait For Event    status    since=start
    Wait For Connection    since=${event}

Connection Is Not Lost
    [Documentation]    Event 'disconnected' did not come within 0.2 s.
    ...    ${IS CONNECTED}
    ...    0 events since position 2.
    ...    ${RUNS}
    Wait For Disconnection

State Is Not Reached
    [Documentation]    Connection state 'failed' was not reached within 0.2 s.
    ...    ${IS CONNECTED}
    ...    0 events since position 2.
    ...    ${RUNS}
    Wait For Connection State    failed

State Is Another One
    [Documentation]    Connection state should be 'failed' but is 'connected'.
    ...    ${IS CONNECTED}
    ...    0 events since position 2.
    ...    ${RUNS}
    ...    This looks only once; `Wait For Connection State` waits.
    Connection State Should Be    failed

Path Is Another One
    [Documentation]    Connection states should be connecting > failed but are connecting > connected.
    ...    ${IS CONNECTED}
    ...    0 events since position 2.
    ...    ${RUNS}
    Connection States Should Be    connecting    failed
""",
    )


def test_validity_of_a_connection(tmp_path: Path) -> None:
    failures_should_be_as_documented(
        tmp_path,
        """
Server Is Down
    [Documentation]    Connection should be valid but is not: the client is reconnecting.
    ...    ${IS LOST}
    ...    1 event since position 3.
    ...    ${STOPPED}
    Lose The Connection
    Connection Should Be Valid

Server Is Frozen
    [Documentation]    Connection should be valid but is not: GET http://127.0.0.1:PORT/queue: no answer within 0.2
    ...    s.
    ...    ${IS CONNECTED}
    ...    0 events since position 2.
    ...    ${FROZEN}
    Freeze Mock Server
    Connection Should Be Valid

Connection Is Valid
    [Documentation]    Connection should not be valid but is.
    ...    ${IS CONNECTED}
    ...    0 events since position 2.
    ...    ${RUNS}
    Connection Should Not Be Valid    timeout=10 s
""",
    )


def test_events_that_should_have_come_or_not(tmp_path: Path) -> None:
    failures_should_be_as_documented(
        tmp_path,
        """
It Comes
    [Documentation]    Event 'reconnecting' with attempt=2 should not have come within 60 s but did after TIME:
    ...    reconnecting attempt=2 delay=16 error=[Errno 111] Connection refused.
    ...    Seen: client 'one' is reconnecting; last events: ${CONNECTED}; disconnected code=1001
    ...    reason=server shutting down cause=close frame (TIME ago);
    ...    reconnecting attempt=1 delay=8 (TIME ago);
    ...    reconnecting attempt=2 delay=16 error=[Errno 111] Connection refused (TIME ago).
    ...    2 events since position 3.
    ...    Server: ended with exit status 0.
    ...    Log: results/comfymock/main-life-1.log.
    [Setup]    Start Mock Server    alias=main    status_interval=0
    Connect Client    alias=one    base_delay=8 s    max_delay=1 hour    timeout=10 s
    Wait For Event    status    timeout=10 s
    Lose The Connection
    Event Should Not Fire    reconnecting    timeout=60 s    attempt=2

It Had Come
    [Documentation]    Event 'status' should not have come but had, TIME before this wait: status
    ...    status.exec_info.queue_remaining=0 sid=CLIENT.
    ...    ${IS CONNECTED}
    ...    2 events since the start.
    ...    ${RUNS}
    ...    Give since=${event} to look only at what comes after a later event.
    Event Should Not Fire    status    since=start

It Has Not Fired
    [Documentation]    Event 'executed' should have fired at least once since it was tracked but did not.
    ...    ${IS CONNECTED}
    ...    0 events since position 2.
    ...    ${RUNS}
    ...    This looks only once; wait for the event with `Wait For Event` before.
    Track Event    executed
    Event Should Have Fired    executed

It Has Fired Less Often
    [Documentation]    Event 'execution_start' should have fired 2 times since it was tracked but did once.
    ...    ${HAD PROMPT}
    ...    MANY events since position 2.
    ...    ${RUNS}
    ...    This looks only once; wait for the event with `Wait For Event` before.
    Track Event    execution_start
    Have A Prompt That Has Ended
    Event Should Have Fired    execution_start    times=2

It Has Fired More Often
    [Documentation]    Event 'executing' should have fired once since it was tracked but did 4 times.
    ...    ${HAD PROMPT}
    ...    MANY events since position 2.
    ...    ${RUNS}
    Track Event    executing
    Have A Prompt That Has Ended
    Event Should Have Fired    executing    times=1

It Has Fired
    [Documentation]    Event 'execution_start' should not have fired since it was tracked but did once:
    ...    execution_start prompt_id=PROMPT timestamp=TIME.
    ...    ${HAD PROMPT}
    ...    MANY events since position 2.
    ...    ${RUNS}
    Track Event    execution_start
    Have A Prompt That Has Ended
    Event Should Not Have Fired    execution_start

It Is Not Tracked
    [Documentation]    ValueError: Event 'execution_start' of client 'one' is not tracked.
    ...    Use `Track Event` before it can come.
    Event Should Have Fired    execution_start

It Is Not Tracked Either
    [Documentation]    ValueError: Event 'execution_start' of client 'one' is not tracked.
    ...    Use `Track Event` before it can come.
    Event Should Not Have Fired    execution_start
""",
    )


def test_prompts(tmp_path: Path) -> None:
    failures_should_be_as_documented(
        tmp_path,
        """
It Does Not End
    [Documentation]    Prompt PROMPT did not end within 6 s: it runs.
    ...    Seen: client 'one' is connected; last events: status status.exec_info.queue_remaining=1
    ...    (TIME ago);
    ...    execution_start prompt_id=PROMPT timestamp=TIME (TIME ago);
    ...    execution_cached nodes=[] prompt_id=PROMPT timestamp=TIME (TIME ago);
    ...    progress_state prompt_id=PROMPT nodes.1={…} (TIME ago);
    ...    executing node=1 display_node=1 prompt_id=PROMPT (TIME ago).
    ...    6 events since position 2.
    ...    ${RUNS}
    ...    Give it a longer timeout, or end it with `Interrupt Prompt`.
    [Setup]    Have A Prompt That Runs
    Wait For Prompt    timeout=6 s

It Ends Another Way
    [Documentation]    Prompt PROMPT should have ended with failure but ended with success.
    ...    ${HAD PROMPT}
    ...    MANY events since position 2.
    ...    ${RUNS}
    Have A Prompt That Has Ended
    Wait For Prompt    result=failure    timeout=10 s

It Is Interrupted
    [Documentation]    Prompt PROMPT should have ended with success but ended with failure: interrupted at node 2
    ...    (ImageInvert).
    ...    Seen: client 'one' is connected; last events: progress_state prompt_id=PROMPT nodes={…}
    ...    (TIME ago);
    ...    executing node=2 display_node=2 prompt_id=PROMPT (TIME ago);
    ...    execution_interrupted prompt_id=PROMPT node_id=2 node_type=ImageInvert executed=[…]
    ...    timestamp=TIME (TIME ago);
    ...    status status.exec_info.queue_remaining=0 (TIME ago);
    ...    executing node=None prompt_id=PROMPT (TIME ago).
    ...    MANY events since position 2.
    ...    ${RUNS}
    ${hold} =    Hold Execution At    2
    Queue Prompt    timeout=10 s
    Wait For Fault    ${hold}    timeout=10 s
    Interrupt Prompt    timeout=10 s
    Clear Fault    ${hold}
    Wait For Event    executing    node=None    timeout=10 s
    Wait For Prompt    result=success    timeout=10 s

It Is Lost
    [Documentation]    Prompt PROMPT should have ended with success but ended with lost: neither in the queue nor
    ...    in the history.
    ...    Seen: client 'one' is reconnecting; last events: execution_success prompt_id=PROMPT
    ...    timestamp=TIME (TIME ago);
    ...    status status.exec_info.queue_remaining=0 (TIME ago);
    ...    executing node=None prompt_id=PROMPT (TIME ago);
    ...    disconnected code=1001 reason=server shutting down cause=close frame (TIME ago);
    ...    reconnecting attempt=1 delay=3600 (TIME ago).
    ...    MANY events since position 2.
    ...    Server: running, pid PID.
    ...    Log: results/comfymock/main-life-2.log.
    ...    A restart empties queue and history: queue it again.
    Have A Prompt That Has Ended
    Lose The Connection
    Restart Mock Server
    Wait For Prompt    result=success    timeout=10 s

Server Is Down
    [Documentation]    Prompt PROMPT did not end within 0.2 s: GET http://127.0.0.1:PORT/queue: [Errno 111]
    ...    Connection refused.
    ...    Seen: client 'one' is reconnecting; last events: execution_success prompt_id=PROMPT
    ...    timestamp=TIME (TIME ago);
    ...    status status.exec_info.queue_remaining=0 (TIME ago);
    ...    executing node=None prompt_id=PROMPT (TIME ago);
    ...    disconnected code=1001 reason=server shutting down cause=close frame (TIME ago);
    ...    reconnecting attempt=1 delay=3600 (TIME ago).
    ...    MANY events since position 2.
    ...    ${STOPPED}
    Have A Prompt That Has Ended
    Lose The Connection
    Wait For Prompt

There Is None
    [Documentation]    ValueError: Client 'one' has queued no prompt.
    ...    Use `Queue Prompt` first.
    Wait For Prompt

It Is Refused
    [Documentation]    POST http://127.0.0.1:PORT/prompt: status 400, {"error": {"type": "invalid_prompt",
    ...    "message": "Cannot execute because node NoSuchNode does not exist.", "details": "Node ID
    ...    '#1'", "extra_info": {}}, "node_errors": {}}.
    ...    ${RUNS}
    Queue Prompt    ${{ {"1": {"class_type": "NoSuchNode", "inputs": {}}} }}    timeout=10 s

It Cannot Be Queued
    [Documentation]    POST http://127.0.0.1:PORT/prompt: [Errno 111] Connection refused.
    ...    ${STOPPED}
    Kill Mock Server
    Queue Prompt    timeout=10 s

It Cannot Be Interrupted
    [Documentation]    POST http://127.0.0.1:PORT/interrupt: no answer within 0.2 s.
    ...    ${FROZEN}
    [Setup]    Have A Prompt That Runs
    Freeze Mock Server
    Interrupt Prompt

Queue Cannot Be Had
    [Documentation]    GET http://127.0.0.1:PORT/queue: no answer within 0.2 s.
    ...    ${FROZEN}
    Freeze Mock Server
    Get Queue

History Cannot Be Had
    [Documentation]    GET http://127.0.0.1:PORT/history: no answer within 0.2 s.
    ...    ${FROZEN}
    Freeze Mock Server
    Get History

Workflow Is Not There
    [Documentation]    ValueError: The workflow nowhere.json cannot be read: No such file or directory.
    Queue Prompt    nowhere.json
""",
    )


def test_ends_of_servers(tmp_path: Path) -> None:
    failures_should_be_as_documented(
        tmp_path,
        """
It Does Not Stop
    [Documentation]    Mock server 'main' did not stop within 0.2 s: it is running, pid PID.
    ...    Log: results/comfymock/main-life-1.log.
    ...    End it with `Kill Mock Server`.
    Wait For Mock Server To Stop

It Is Frozen And Does Not Stop
    [Documentation]    Mock server 'main' did not stop within 0.2 s: it is frozen, pid PID.
    ...    Log: results/comfymock/main-life-1.log.
    ...    End it with `Kill Mock Server`.
    Freeze Mock Server
    Wait For Mock Server To Stop

It Has Crashed
    [Documentation]    Mock server 'main' should be running but ended with SIGKILL.
    ...    Log: results/comfymock/main-life-1.log.
    ...    Start its next life with `Restart Mock Server`.
    Kill Mock Server    signal=SIGKILL
    Mock Server Should Be Running

It Runs
    [Documentation]    Mock server 'main' should not be running but is running, pid PID.
    ...    Log: results/comfymock/main-life-1.log.
    ...    End it with `Kill Mock Server`, or wait for its end with `Wait For Mock Server To Stop`.
    Mock Server Should Not Be Running

It Cannot Be Frozen
    [Documentation]    The mock server 'main' does not run: ended with exit status 0.
    ...    Start its next life with `Restart Mock Server`.
    Kill Mock Server
    Freeze Mock Server

It Cannot Be Thawed
    [Documentation]    The mock server 'main' does not run: ended with exit status 0.
    ...    Start its next life with `Restart Mock Server`.
    Kill Mock Server
    Thaw Mock Server
""",
    )


def test_servers_that_do_not_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        failures_should_be_as_documented(
            tmp_path,
            """
Option Is Unknown
    [Documentation]    Mock server 'other' on port PORT ended with exit status 2 before it was ready: python -m
    ...    mockserver: error: unrecognized arguments: --no-such-option.
    ...    Log: results/comfymock/other-life-1.log.
    ...    End of its output: USAGE python -m mockserver: error: unrecognized arguments:
    ...    --no-such-option
    Start Mock Server    --no-such-option    alias=other

Value Is Wrong
    [Documentation]    Mock server 'other' on port PORT ended with exit status 2 before it was ready: python -m
    ...    mockserver: error: argument --close-code: '7' is no close code; give a number from 1000 to
    ...    4999 (RFC 6455, 7.4).
    ...    Log: results/comfymock/other-life-1.log.
    ...    End of its output: USAGE python -m mockserver: error: argument --close-code: '7' is no close
    ...    code; give a number from 1000 to 4999 (RFC 6455, 7.4)
    Start Mock Server    --close-code    7    alias=other

Option Is Set By The Library
    [Documentation]    ValueError: The library sets --journal itself: leave it out.
    Start Mock Server    --journal    here.jsonl

Port Is Taken
    [Documentation]    Port PORT is taken by process PID (COMMAND).
    ...    End it, or choose another port, or leave the port out to get any free one.
    Start Mock Server    port=${TAKEN}

Port Is Stolen While The Server Is Down
    [Documentation]    Mock server 'main' on port PORT ended with exit status 1 before it was ready:
    ...    Port PORT on 127.0.0.1 is taken by process PID (COMMAND).
    ...    Log: results/comfymock/main-life-2.log.
    ${server} =    Get Mock Server
    Kill Mock Server
    ${thief} =    Evaluate    socket.create_server(("127.0.0.1", $server.port))
    Restart Mock Server
    [Teardown]    Evaluate    $thief.close()

Alias Runs Already
    [Documentation]    ValueError: The mock server 'main' runs already on port PORT (pid PID).
    ...    Use `Restart Mock Server`, or another alias and port for a second server.
    Start Mock Server    alias=main

Alias Has Another Port
    [Documentation]    ValueError: The mock server 'main' has port PORT and cannot move to 1.
    ...    Leave the port out, or choose another alias.
    Kill Mock Server
    Start Mock Server    alias=main    port=1

Port Has Another Alias
    [Documentation]    ValueError: Port PORT belongs to the mock server 'main', not 'other'.
    ...    Use that alias, or leave the port out.
    ${server} =    Get Mock Server
    Start Mock Server    alias=other    port=${server.port}

Next Life Does Not Start
    [Documentation]    Mock server 'main' on port PORT ended with exit status 2 before it was ready: python -m
    ...    mockserver: error: unrecognized arguments: --no-such-option.
    ...    Log: results/comfymock/main-life-2.log.
    ...    End of its output: USAGE python -m mockserver: error: unrecognized arguments:
    ...    --no-such-option
    Kill Mock Server
    Start Mock Server    --no-such-option    alias=main
""",
            "--variable",
            f"TAKEN:{listener.getsockname()[1]}",
        )


def test_a_server_that_takes_too_long_to_start(tmp_path: Path) -> None:
    failures_should_be_as_documented(
        tmp_path,
        """
Time Is Too Short
    [Documentation]    Mock server 'main' on port PORT was not ready within 0.3 s, and has written nothing.
    ...    Give it a longer startup_timeout. ${LOG}
    [Setup]    NONE
    Start Mock Server    alias=main    startup_timeout=0.3 s
""",
        environment=servers_held_at(tmp_path, BEFORE_IT_LISTENS),
    )


def test_names_that_mean_nothing(tmp_path: Path) -> None:
    failures_should_be_as_documented(
        tmp_path,
        """
Server Is Unknown
    [Documentation]    ValueError: There is no mock server 'nobody'.
    ...    Known: main (port PORT).
    ${server} =    Get Mock Server
    Set Suite Variable    ${MAIN}    ${server}
    Kill Mock Server    nobody

Client Is Unknown
    [Documentation]    ValueError: There is no client 'nobody'.
    ...    Known: one.
    Reconnect Client    nobody

There Is No Server
    [Documentation]    ValueError: There is no mock server.
    ...    Start one with `Start Mock Server`.
    [Setup]    NONE
    Kill Mock Server

There Is No Server To Connect To
    [Documentation]    ValueError: There is no mock server.
    ...    Start one with `Start Mock Server`.
    [Setup]    NONE
    Connect Client

There Is No Client
    [Documentation]    ValueError: There is no client.
    ...    Connect one with `Connect Client`.
    [Setup]    NONE
    Wait For Event    executed

Client Is Closed
    [Documentation]    ValueError: The client 'client-1' is closed.
    ...    Connect a new one with `Connect Client`.
    ${previous} =    Connect Client
    Close Client
    Wait For Connection    client=${previous}

Server Of Another Test
    [Documentation]    ValueError: The mock server 'main' is closed.
    ...    Start a new one with `Start Mock Server`.
    [Setup]    NONE
    Kill Mock Server    ${MAIN}

Client Alias Is Taken
    [Documentation]    ValueError: There is a client 'one' already.
    ...    Close it, or choose another alias.
    Connect Client    alias=one

Server And Url Are Given
    [Documentation]    ValueError: Give either a mock server or a url, not both.
    Connect Client    main    url=http://127.0.0.1:1
""",
    )


def test_clients_that_cannot_connect(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        failures_should_be_as_documented(
            tmp_path,
            """
Nobody Listens
    [Documentation]    Connection to http://127.0.0.1:PORT did not happen, and is not tried any more.
    ...    Seen: client 'two' is failed; last events: connection_failed error=[Errno 111] Connection
    ...    refused (TIME ago).
    ...    1 event since the start.
    ...    Make sure that a server runs at http://127.0.0.1:PORT.
    Connect Client    url=http://127.0.0.1:${DEAD}    alias=two    auto_reconnect=no    timeout=10 s

Nobody Listens After All Attempts
    [Documentation]    Connection to http://127.0.0.1:PORT did not happen, and is not tried any more.
    ...    Seen: client 'two' is failed; last events: reconnecting attempt=1 delay=0 error=[Errno
    ...    111] Connection refused (TIME ago);
    ...    reconnection_failed attempts=1 error=[Errno 111] Connection refused (TIME ago).
    ...    2 events since the start.
    ...    Make sure that a server runs at http://127.0.0.1:PORT.
    Connect Client    url=http://127.0.0.1:${DEAD}    alias=two    max_attempts=1    base_delay=0    timeout=10 s

Server Is Down
    [Documentation]    Connection to life 1 (LIFE) did not happen within 0.2 s.
    ...    Seen: client 'two' is reconnecting; last events: reconnecting attempt=1 delay=3600
    ...    error=[Errno 111] Connection refused (TIME ago).
    ...    1 event since the start.
    ...    ${STOPPED}
    Kill Mock Server
    Connect Client    alias=two    base_delay=1 hour    max_delay=1 hour    wait=no
    Wait For Event    reconnecting    timeout=10 s
    Wait For Connection

Server Is Frozen
    [Documentation]    Connection to life 1 (LIFE) did not happen within 0.2 s.
    ...    Seen: client 'two' is connecting; no event.
    ...    0 events since the start.
    ...    ${FROZEN}
    Freeze Mock Server
    Connect Client    alias=two    connect_timeout=1 hour

Url Is None
    [Documentation]    ValueError: 'ftp://127.0.0.1' is no URL of a server; give one such as http://127.0.0.1:PORT.
    Connect Client    url=ftp://127.0.0.1

Jitter Is None
    [Documentation]    ValueError: jitter=3.0 is no share of the delay; give a number from 0 to 1, such as 0.3.
    Connect Client    jitter=3

There Are No Attempts
    [Documentation]    ValueError: max_attempts=0 allows no attempt; give 1 or more, or None for no limit.
    Connect Client    max_attempts=0
""",
            "--variable",
            f"DEAD:{held.getsockname()[1]}",
        )


def test_words_that_there_are_not(tmp_path: Path) -> None:
    failures_should_be_as_documented(
        tmp_path,
        """
Signal
    [Documentation]    ValueError: Argument 'signal' got value 'SIGSTOP' that cannot be converted to StopSignal:
    ...    StopSignal does not have member 'SIGSTOP'.
    ...    Available: 'SIGINT', 'SIGKILL' and 'SIGTERM'
    Kill Mock Server    signal=SIGSTOP

State
    [Documentation]    ValueError: Argument 'state' got value 'conected' that cannot be converted to
    ...    ConnectionState: ConnectionState does not have member 'conected'.
    ...    Available: 'connected', 'connecting', 'disconnected', 'failed' and 'reconnecting'
    Wait For Connection State    conected

States
    [Documentation]    ValueError: Argument 'states' got value 'conected' that cannot be converted to
    ...    ConnectionState: ConnectionState does not have member 'conected'.
    ...    Available: 'connected', 'connecting', 'disconnected', 'failed' and 'reconnecting'
    Connection States Should Be    connecting    conected

Strategy
    [Documentation]    ValueError: Argument 'strategy' got value 'quadratic' that cannot be converted to
    ...    BackoffStrategy: BackoffStrategy does not have member 'quadratic'.
    ...    Available: 'constant', 'exponential' and 'linear'
    Connect Client    strategy=quadratic

Result
    [Documentation]    ValueError: Argument 'result' got value 'sucess' that cannot be converted to PromptResult or
    ...    None.
    Wait For Prompt    result=sucess

Source
    [Documentation]    ValueError: Argument 'source' got value 'servr' that cannot be converted to 'client' or
    ...    'server' or None.
    Wait For Event    executed    source=servr

Since
    [Documentation]    ValueError: Argument 'since' got value 'beginning' that cannot be converted to Event,
    ...    'start' or None.
    Wait For Event    executed    since=beginning

Timeout
    [Documentation]    ValueError: Argument 'timeout' got value 'soon' that cannot be converted to timedelta:
    ...    Invalid time string 'soon'.
    Set Timeout    soon
""",
        "--dryrun",
    )


def test_faults_that_do_not_strike(tmp_path: Path) -> None:
    failures_should_be_as_documented(
        tmp_path,
        """
It Has Not Struck
    [Documentation]    Fault 'drop_message-1' (drop_message message=progress) did not strike once within 0.2 s:
    ...    it is active and has not struck.
    ...    ${RUNS}
    ${fault} =    Drop Message    progress
    Wait For Fault    ${fault}

Another One Is In Force
    [Documentation]    Event 'executing' did not come within 0.2 s.
    ...    ${IS CONNECTED}
    ...    0 events since position 2.
    ...    Server: running, pid PID.
    ...    Faults: lose_queue-1 (waiting), fail_request-1 (active, struck once). ${LOG}
    Lose Queue    when=executing node=3
    Fail Request    path=/queue
    Drop Message    progress
    Clear Fault    drop_message-1
    Connection Should Not Be Valid    timeout=10 s
    Wait For Event    executing

It Has Not Struck Often Enough
    [Documentation]    Fault 'fail_request-1' (fail_request path=/queue status=500 body= content_type=text/plain)
    ...    did not strike 2 times within 0.2 s: it is active and has struck once.
    ...    ${RUNS}
    ${fault} =    Fail Request    path=/queue
    Connection Should Not Be Valid    timeout=10 s
    Wait For Fault    ${fault}    strikes=2

It Waits For Its Event
    [Documentation]    Fault 'lose_queue-1' (lose_queue when=(event=executing node=3))
    ...    did not strike once within 0.2 s: it is waiting and has not struck.
    ...    ${RUNS}
    ...    It waits for its event.
    ${fault} =    Lose Queue    when=executing node=3
    Wait For Fault    ${fault}

It Has Ended
    [Documentation]    Fault 'pong-1' (pong answer=none) cannot strike once any more: it has ended and has not
    ...    struck.
    ...    ${RUNS}
    ${fault} =    Suppress Pong
    Clear Fault    ${fault}
    Wait For Fault    ${fault}    timeout=1 hour

Its Server Is Down
    [Documentation]    Fault 'drop_message-1' (drop_message message=progress) cannot strike once any more: it has ended
    ...    and has not struck.
    ...    ${STOPPED}
    ${fault} =    Drop Message    progress
    Kill Mock Server
    Wait For Fault    ${fault}

It Waits For The Next Life
    [Documentation]    Fault 'hang_upgrade-1' (hang_upgrade) did not strike once within 0.2 s: it is waiting and has not
    ...    struck.
    ...    ${STOPPED}
    ${fault} =    Hang Upgrade
    Kill Mock Server
    Wait For Fault    ${fault}

Its Server Is Frozen
    [Documentation]    Fault 'drop_message-1' (drop_message message=progress) did not strike once within 0.2 s:
    ...    it is active and has not struck.
    ...    ${FROZEN}
    ${fault} =    Drop Message    progress
    Freeze Mock Server
    Wait For Fault    ${fault}

It Should Have Struck
    [Documentation]    Fault 'drop_message-1' (drop_message message=progress) should have struck at least once but did
    ...    not.
    ...    ${RUNS}
    ...    This looks only once; `Wait For Fault` waits.
    ${fault} =    Drop Message    progress
    Fault Should Have Struck    ${fault}

It Should Have Struck More Often
    [Documentation]    Fault 'fail_request-1' (fail_request path=/queue status=500 body= content_type=text/plain)
    ...    should have struck 2 times but did once.
    ...    ${RUNS}
    ...    This looks only once; `Wait For Fault` waits.
    Fail Request    path=/queue
    Connection Should Not Be Valid    timeout=10 s
    Fault Should Have Struck    fail_request-1    times=2

It Should Not Have Struck
    [Documentation]    Fault 'fail_request-1' (fail_request path=/queue status=500 body= content_type=text/plain)
    ...    should not have struck but did once.
    ...    ${RUNS}
    ${fault} =    Fail Request    path=/queue
    Connection Should Not Be Valid    timeout=10 s
    Fault Should Have Struck    ${fault}    times=0
""",
    )


def test_faults_that_cannot_be_set(tmp_path: Path) -> None:
    failures_should_be_as_documented(
        tmp_path,
        """
Server Is Down
    [Documentation]    The mock server 'main' does not run: ended with exit status 0.
    ...    Start its next life with `Restart Mock Server`.
    Kill Mock Server
    Drop Message    progress

Server Is Frozen
    [Documentation]    The mock server 'main' is frozen (pid PID) and takes no orders.
    ...    Let it go on with `Thaw Mock Server`.
    Freeze Mock Server
    Add Latency    1 s    direction=both

There Is No Such Fault
    [Documentation]    ValueError: The mock server 'main' has no fault 'mine'.
    ...    Known: drop_message-1.
    Drop Message    progress
    Clear Fault    mine

Server Is Closed
    [Documentation]    ValueError: The mock server of the fault 'drop_message-1' is closed, and the fault has ended with
    ...    it.
    ${fault} =    Drop Message    progress
    ${library} =    Get Library Instance    ComfyMockLibrary
    Call Method    ${library._session}    close
    Wait For Fault    ${fault}

Close Code
    [Documentation]    ValueError: close_sockets: Expected `int` <= 65535 - at `$.code`.
    ...    Fields: id, when, after, seed, times, code, reason, who.
    Close Connections    code=65536

Times Without An Event
    [Documentation]    ValueError: reset_connections: times needs an event under when, at which it happens again.
    Reset Connections    times=2

Raw Frame
    [Documentation]    ValueError: Give either a frame by name or hex=, the bytes.
    Send Raw Frame

A Proxy Has No Such Toxic
    [Documentation]    ValueError: A Toxiproxy has no such toxic as drop_message.
    ...    Give the fault to a mock server, or use one of latency, bandwidth, slice, stall, hold_network, silence,
    ...    stop_reading, cut, slow_close, reset_connections.
    ${proxy} =    Start Network Proxy    startup_timeout=10 s
    Drop Message    progress    server=${proxy}

A Proxy Does Not Count
    [Documentation]    ValueError: The proxy 'net' does not tell how often a fault has struck.
    Start Network Proxy    alias=net    startup_timeout=10 s
    ${fault} =    Silence Network    direction=both    server=net
    Wait For Fault    ${fault}

Field Of Another Event
    [Documentation]    ValueError: path is about the event 'request', not about 'executing'.
    Crash Mock Server When    executing    path=/prompt
""",
    )


def test_words_that_no_fault_knows_are_found_by_a_dry_run_too(tmp_path: Path) -> None:
    failures_should_be_as_documented(
        tmp_path,
        """
Direction Is Missing
    [Documentation]    Keyword 'ComfyMockLibrary.Stall Network' missing named-only argument 'direction'.
    Stall Network    loss=5%

Direction
    [Documentation]    ValueError: Argument 'direction' got value 'down' that cannot be converted to Direction:
    ...    Direction does not have member 'down'.
    ...    Available: 'both', 'to_client' and 'to_server'
    Hold Network    direction=down

Share
    [Documentation]    ValueError: Argument 'loss' got value '5' that cannot be converted to Percent: It is more than
    ...    all;
    ...    did you mean 5%?
    Stall Network    loss=5    direction=both

Tolerance
    [Documentation]    ValueError: Argument 'tolerance' got value '20' that cannot be converted to Percent or None.
    Backoff Should Be    constant    base=1 s    tolerance=20

Rate
    [Documentation]    ValueError: Argument 'rate' got value '100 kBps' that cannot be converted to Rate: 'kBps' is no
    ...    unit of a rate;
    ...    give for example 100 kB/s, 1 MiB/s or 10 Mbit/s.
    Limit Bandwidth    100 kBps    direction=both

Size
    [Documentation]    ValueError: Argument 'size' got value '16 megs' that cannot be converted to Size: 'megs' is no
    ...    unit of a size;
    ...    give for example 16 kB or 16 MiB.
    Send Raw Frame    oversized    size=16 megs

Event
    [Documentation]    ValueError: Argument 'when' got value 'executing nod=3' that cannot be converted to EventTrigger:
    ...    'nod=3' is no field of an event;
    ...    fields are node=, prompt=, value=, client=, method=, path=, nth=, moment=.
    Lose Queue    when=executing nod=3

Field
    [Documentation]    Keyword 'ComfyMockLibrary.Crash Mock Server When' expected 1 non-named argument, got 2.
    Crash Mock Server When    executing    nod=3

Until
    [Documentation]    ValueError: Argument 'until' got value 'tomorrow' that cannot be converted to FaultEnd:
    ...    FaultEnd does not have member 'tomorrow'.
    ...    Available: 'cleared', 'suite' and 'test'
    Lose Queue    until=tomorrow

Method
    [Documentation]    ValueError: Argument 'method' got value 'FETCH' that cannot be converted to HttpMethod:
    ...    HttpMethod does not have member 'FETCH'.
    ...    Available: 'ANY', 'DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST' and 'PUT'
    Fail Request    FETCH    /prompt
""",
        "--dryrun",
    )


def failures_should_be_as_documented(
    directory: Path, tests: str, *options: str, environment: Mapping[str, str] | None = None
) -> None:
    """Runs tests, all of which must fail, and compares their messages with their documentation."""
    should_fail_as_documented(directory, HEAD + tests.lstrip(), *options, environment=environment)
