*** Settings ***
Documentation       Reconnection in three examples, step by step. Start reading here.

Library             ComfyMockLibrary

Test Tags           reconnection    simple


*** Test Cases ***
Basic Flow
    [Documentation]    A client loses its server and is told to reconnect when the server is back.
    Log    A mock server is a process of its own. Without a port it takes any free one.
    Start Mock Server
    Log    The client returns when it is connected. This one does not reconnect by itself.
    Connect Client    auto_reconnect=no
    Log    The server ends. The client notices it at once.
    Kill Mock Server
    Wait For Disconnection
    Log    The server comes back on the same port, and the client reconnects when it is told to.
    Restart Mock Server
    Reconnect Client
    Wait For Connection    timeout=10 s
    Connection Should Be Valid

Automatic Reconnection
    [Documentation]    A client comes back by itself.
    Start Mock Server
    Log    By default a client tries again after 100 ms, 200 ms, 400 ms and so on.
    Connect Client
    Log    The server crashes and is down for a moment.
    Restart Mock Server    signal=SIGKILL    downtime=200 ms
    Log    The client sees the loss, tries again, and succeeds.
    Wait For Event    disconnected
    Wait For Event    reconnecting
    Wait For Event    reconnected
    Connection States Should Be    connecting    connected    disconnected    reconnecting    connected

Several Restarts
    [Documentation]    The third outage is survived like the first, and work goes on.
    Start Mock Server
    Connect Client
    FOR    ${_}    IN RANGE    3
        Restart Mock Server
        Wait For Connection    timeout=10 s
        Log    A prompt goes through queue and execution; its end is "executing" with node null.
        ${prompt} =    Queue Prompt
        Wait For Event    executing    node=None    prompt_id=${prompt.prompt_id}
        Wait For Prompt    ${prompt}    success
    END
