*** Settings ***
Documentation       What a server tells of clients that are not this library's: a Python script, a node script, a page
...                 in a browser.
...
...                 Each keyword of evidence has an example here in which the client does well. How one that errs is
...                 told of is in ``tests/acceptance/test_evidence.py``.

Resource            evidence.resource

Test Setup          Start Mock Server    node_duration=0 s    status_interval=0 s

Test Tags           evidence


*** Test Cases ***
Python Script Comes Back After A Crash
    [Documentation]    The server dies by SIGKILL and lives on in another process.
    Start Python Client    --job
    Client Should Come Back After A Crash

Node Script Comes Back After A Crash
    [Documentation]    The same client in another language: the keywords do not change.
    [Tags]    node
    Start Node Client
    Client Should Come Back After A Crash

Page In A Browser Comes Back After A Crash
    [Documentation]    The page is the client, and the mock server serves it too.
    [Tags]    browser
    [Setup]    Start Mock Server    --front-end-root    ${CLIENTS}/page    node_duration=0 s    status_interval=0 s
    Start Browser Client
    Client Should Come Back After A Crash

Delays Grow Exponentially
    [Documentation]    Attempts are seen while the server is down: its port is watched. The client waits 0.5 s, 1 s
    ...    and then 1.2 s each time. The tolerance is for busy machines.
    Start Python Client    --strategy    exponential    --base    0.5    --maximum    1.2
    Crash And Restart After Attempts    3
    Client Should Have Reconnected
    Backoff Should Be    exponential    base=500 ms    maximum=1200 ms    tolerance=60%

Delays Are The Same
    [Documentation]    A client that waits 0.6 s before each attempt makes few of them, and does not flood the server.
    Start Python Client    --strategy    constant    --base    0.6
    Crash And Restart After Attempts    2
    Client Should Have Reconnected    max_attempts=10
    Backoff Should Be    constant    base=600 ms    tolerance=60%
    Get Reconnect Attempts    >=    2
    Get Reconnect Attempts    <=    10
    Client Should Not Flood    max_rate=5

Second Outage Is Survived Too
    [Documentation]    Clients are known that come back once. Losses are counted over all lives of the server.
    Start Python Client
    Reset Connections
    Client Should Have Reconnected    nth=1
    Close Connections    code=1012
    Client Should Have Reconnected    nth=2
    Get Reconnect Attempts    ==    1    nth=1
    Client Id Should Be Kept

Job Is Lost With The Server
    [Documentation]    Before the crash the client has queued its prompt, after the crash it asks what became of it, and
    ...    does not queue it again.
    Crash Mock Server When    executing    node=2
    Launch Python Client    --job
    Wait For Mock Server To Stop
    Restart Mock Server
    Client Should Have Reconnected
    Mock Server Should Have Received    GET    /history/*    life=2    timeout=60 s
    Mock Server Should Have Received    POST    /prompt    times=1
    Prompt Should Have Been Sent Once
    Get Recorded Requests    ==    1    method=POST    path=/prompt    life=1
    Get Recorded Requests    ==    0    method=POST    life=2

Result Is Fetched
    [Documentation]    The prompt has run, and the client has asked for its outputs.
    [Tags]    node
    Start Node Client
    ${request} =    Client Should Have Fetched Result    timeout=60 s
    Should Be Equal As Integers    ${request.status}    200
    ${prompts} =    Get Recorded Requests    ==    1    method=POST    path=/prompt
    Client Should Have Fetched Result    ${prompts[0].answer_json['prompt_id']}

Messages Are Known Either Way
    [Documentation]    One record for each message, with whom it went to or who sent it.
    Start Python Client    --client-id    mine    --job
    Client Should Have Fetched Result    timeout=60 s
    ${sent} =    Get Recorded Messages    ==    1    type=execution_success
    Should Be Equal    ${sent[0].direction}    sent
    Should Be Equal    ${sent[0].client_ids}    ${{ ("mine",) }}
    ${flags} =    Get Recorded Messages    >=    2    type=feature_flags    client_id=mine
    Should Be Equal    ${flags[0].direction}    received
    Get Recorded Messages    ==    0    type=execution_error

Clients Are Told Apart
    [Documentation]    By their ids, their headers, and their number.
    Start Python Client    --client-id    first
    Start Python Client    --client-id    second
    Wait For Client On Server    nth=2
    ${socket} =    Wait For Client On Server    client_id=second    header=User-Agent: evidence-client/*
    Should Be True    ${socket.is_open}
    Get Recorded Sockets    ==    2    life=-1
    Get Recorded Sockets    ==    1    client_id=first

Frozen Server Can Be Asked
    [Documentation]    What is known of a life is in its journal, also when it does not answer any more.
    Start Python Client    --client-id    mine
    Freeze Mock Server
    ${sockets} =    Get Recorded Sockets    ==    1    client_id=mine
    Should Be True    ${sockets[0].is_open}
    Kill Mock Server
    ${sockets} =    Get Recorded Sockets    ==    1    client_id=mine
    Should Be Equal    ${sockets[0].closed_by}    life
