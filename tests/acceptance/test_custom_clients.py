"""A Python client of the user's own stands behind the keywords like the library's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robot_run import PROJECT, run_robot

if TYPE_CHECKING:
    from pathlib import Path

SUITE = """\
*** Settings ***
Library       ComfyMockLibrary    timeout=30 s
Test Setup    Start Mock Server

*** Test Cases ***
Life Of A Client
    ${client} =    Connect Client    client=my_client.MyClient    alias=mine
    Restart Mock Server    signal=SIGKILL
    Wait For Disconnection
    Wait For Connection
    Connection Should Be Valid
    ${prompt} =    Queue Prompt
    Wait For Event    executing    node=None    prompt_id=${prompt.prompt_id}
    Wait For Prompt    ${prompt}    success
    Event Should Not Fire    reconnection_failed    timeout=0 s    since=start
    Client Id Should Be Kept
    Should Be Equal    ${client.state.value}    connected
    Kill Mock Server
    Wait For Connection State    reconnecting
    Close Client    mine

An Object
    ${object} =    Evaluate    my_client.MyClient()    modules=my_client
    Connect Client    client=${object}
    Connection State Should Be    connected
    Connection States Should Be    connecting    connected

The Earlier Life Does Not Count
    Connect Client    client=my_client.MyClient
    Freeze Mock Server
    Kill Mock Server
    Restart Mock Server    downtime=300 ms
    Wait For Connection

Closed While The Server Says Nothing
    [Setup]    Start Mock Server    status_interval=0 s
    Connect Client    client=my_client.MyClient
    Wait For Event    status
    Close Client

Server Down
    Kill Mock Server
    Connect Client    client=my_client.MyClient    wait=no
    Wait For Connection State    reconnecting
    Restart Mock Server
    Wait For Connection

No Such Module
    [Documentation]    ValueError: The client nowhere.MyClient cannot be imported: No module named 'nowhere'.
    ...    Is its folder on the path? robot --pythonpath FOLDER
    Connect Client    client=nowhere.MyClient

No Such Class
    [Documentation]    ValueError: The module my_client has no YourClient.
    Connect Client    client=my_client.YourClient

No Module
    [Documentation]    ValueError: client=MyClient names no class in a module; give it as my_package.MyClient.
    Connect Client    client=MyClient

No Client
    [Documentation]    ValueError: OrderedDict is no client: it has no method connect and no method close.
    ...    `Connect Client` says what a client of your own has.
    Connect Client    client=collections.OrderedDict

Cannot Reconnect
    [Documentation]    ValueError: The client 'mine' (MyClient) has no method reconnect().
    Connect Client    client=my_client.MyClient    alias=mine
    Reconnect Client
"""


def test_it_is_waited_for_like_any_other(tmp_path: Path) -> None:
    run = run_robot(tmp_path, SUITE, "--pythonpath", str(PROJECT / "tests" / "clients"))

    for name, test in run.tests.items():
        assert test.message == test.documentation.replace("\n", " "), name
    life = run.tests["Life Of A Client"]
    assert "[Client mine]" in life.log
    assert "disconnected" in life.log
