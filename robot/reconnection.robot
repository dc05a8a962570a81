*** Settings ***
Documentation       The main job: a client loses its server and comes back, for real.
...
...                 Every test starts a server process of its own, takes it away from a connected client, and looks at
...                 what the client makes of it. Nothing sleeps: each step waits for what it needs.

Resource            reconnection.resource

Test Tags           reconnection    comprehensive


*** Variables ***
@{FAILURES}         @{EMPTY}    # what the callback has noted


*** Test Cases ***
Manual Reconnection After A Restart
    [Documentation]    A client that does not reconnect by itself stays disconnected until it is told to.
    Server With A Connected Client    auto_reconnect=no
    Restart Mock Server
    Wait For Disconnection
    Connection State Should Be    disconnected
    Reconnect Client
    Client Should Be Back
    Connection States Should Be    connecting    connected    disconnected    reconnecting    connected

Several Attempts, Abort, Then Success
    [Documentation]    Attempts fail while the server is down, an abort ends them, and a later reconnection succeeds.
    Server With A Connected Client    auto_reconnect=no
    Kill Mock Server
    Wait For Disconnection
    Reconnect Client
    Wait For Event    reconnecting    attempt=1
    Wait For Event    reconnecting    attempt=2
    Wait For Event    reconnecting    attempt=3
    Abort Reconnect
    Wait For Event    reconnection_aborted
    Connection State Should Be    disconnected
    Event Should Not Fire    reconnecting    timeout=200 ms
    Restart Mock Server
    Reconnect Client
    Client Should Be Back

Automatic Reconnection
    [Documentation]    However the server ends, the client comes back by itself and knows how the connection ended.
    [Template]    Client Comes Back By Itself After
    # signal    close code    cause
    SIGTERM    1001    close frame
    SIGINT    1001    close frame
    SIGKILL    1006    end of stream without close frame

Only Reconnected Fires
    [Documentation]    A successful reconnection is announced once, and no failure is.
    Server With A Connected Client
    Track Event    reconnected
    Track Event    reconnection_failed
    Restart Mock Server    downtime=100 ms
    Client Should Be Back
    Event Should Have Fired    reconnected    times=1
    Event Should Not Have Fired    reconnection_failed

Connection States Through The Whole Life Cycle
    [Documentation]    The state is right at each step, and no step is left out.
    Start Mock Server
    Connect Client    alias=traveller    base_delay=20 ms    max_attempts=None
    Connection State Should Be    connected
    Kill Mock Server
    Wait For Connection State    disconnected
    Wait For Connection State    reconnecting
    Restart Mock Server
    Wait For Connection State    connected
    Connection States Should Be
    ...    connecting    connected    disconnected    reconnecting    connected

Validation Is True While The Server Is Up And False While It Is Down
    [Documentation]    Validation looks at the websocket and at the answer of the server, within its timeout.
    Server With A Connected Client
    Validation Should Give    ${True}
    Kill Mock Server
    Validation Should Give    ${False}
    Restart Mock Server
    Wait For Connection
    Validation Should Give    ${True}
    Freeze Mock Server
    Validation Should Give    ${False}    timeout=100 ms

Failure Is Announced When The Server Stays Down
    [Documentation]    After the last attempt has failed, and not before, the event comes and the callback is called.
    Start Mock Server
    Connect Client    base_delay=20 ms    strategy=constant    max_attempts=3    on_failure=Note The Failure
    Kill Mock Server
    ${failure} =    Wait For Event    reconnection_failed
    Should Be Equal As Integers    ${failure.data.attempts}    3
    Length Should Be    ${FAILURES}    1
    Connection State Should Be    failed
    ${attempts} =    Get Events    reconnecting
    Length Should Be    ${attempts}    3
    Event Should Not Fire    reconnecting    timeout=100 ms

Many Restarts
    [Documentation]    The tenth outage is noticed and survived like the first.
    [Template]    Client Survives Restarts
    # how many
    1
    3
    10

Messages After A Reconnection
    [Documentation]    The new connection brings messages: the first status with the client's id, then periodic ones.
    Start Mock Server    status_interval=50 ms
    ${client} =    Connect Client    base_delay=20 ms    max_attempts=None
    Restart Mock Server
    Wait For Connection
    Wait For Event    status    sid=${client.client_id}
    Wait For Event    status    status.exec_info.queue_remaining=0
    Wait For Event    status    status.exec_info.queue_remaining=0

Second Outage After A Settled Recovery
    [Documentation]    After a first recovery that has proven itself, a second outage is noticed too.
    Server With A Connected Client
    Restart Mock Server
    Client Should Be Back
    Prompt Should Succeed
    Kill Mock Server    signal=SIGKILL
    Wait For Disconnection
    Wait For Event    reconnecting
    Restart Mock Server
    Client Should Be Back
    Prompt Should Succeed

Frozen Server Is Noticed And Thawed
    [Documentation]    A frozen server keeps its sockets open; only the heartbeat can tell.
    Server With A Connected Client    ping_interval=100 ms    pong_timeout=500 ms    connect_timeout=1 s
    Freeze Mock Server
    ${loss} =    Wait For Disconnection    since=start
    Should Be Equal    ${loss.data.cause}    no pong within 0.5 s
    Mock Server Should Be Running
    Connection Should Not Be Valid
    Thaw Mock Server
    Wait For Connection
    ${prompt} =    Queue Prompt
    Wait For Prompt    ${prompt}    success

Delays Grow As Configured
    [Documentation]    Delays are those of the strategy, cut at the longest, and are really waited.
    [Template]    Delays Should Be
    # strategy    base    longest    delays in seconds
    constant    20 ms    1 s    0.02    0.02    0.02    0.02
    linear    10 ms    1 s    0.01    0.02    0.03    0.04
    exponential    10 ms    1 s    0.01    0.02    0.04    0.08
    exponential    10 ms    25 ms    0.01    0.02    0.025    0.025

Close While Reconnecting
    [Documentation]    A client that is closed in the middle of it leaves no thread and no socket, and stays closed.
    Server With A Connected Client    base_delay=100 ms    connect_timeout=10 s
    Freeze Mock Server
    Reconnect Client
    Connection State Should Be    reconnecting
    Close Client
    Nothing Should Be Left Of The Client

Server Not Up At First
    [Documentation]    A client that starts before its server finds it as soon as it is there.
    Start Mock Server
    Kill Mock Server
    Connect Client    wait=no    base_delay=20 ms    max_attempts=None
    Wait For Event    reconnecting    attempt=2
    Restart Mock Server
    Client Should Be Back

Prompt After A Reconnection
    [Documentation]    A prompt that is queued after the reconnection completes, and its events arrive.
    Server With A Connected Client
    Restart Mock Server    signal=SIGKILL
    Wait For Connection
    Prompt Should Succeed

Prompt That A Restart Wiped Is Lost
    [Documentation]    Queue and history die with the server: the client must say "lost", not wait for ever.
    Start Mock Server    node_duration=1 minute
    Connect Client    base_delay=20 ms    max_attempts=None
    ${running} =    Queue Prompt
    ${waiting} =    Queue Prompt
    Wait For Event    executing    node=1    since=start
    Restart Mock Server    signal=SIGKILL
    Wait For Prompt    ${running}    lost
    Wait For Prompt    ${waiting}    lost


*** Keywords ***
Client Comes Back By Itself After
    [Documentation]    Restarts the server with a signal; the client sees the close code and comes back.
    [Arguments]    ${signal}    ${code}    ${cause}
    Server With A Connected Client
    Restart Mock Server    signal=${signal}
    ${loss} =    Wait For Disconnection
    Should Be Equal As Integers    ${loss.data.code}    ${code}
    Should Be Equal    ${loss.data.cause}    ${cause}
    Client Should Be Back

Client Survives Restarts
    [Documentation]    Restarts the server so many times; each time the client notices, comes back and has work done.
    [Arguments]    ${restarts}
    Server With A Connected Client
    Track Event    disconnected
    Track Event    reconnected
    FOR    ${_}    IN RANGE    ${restarts}
        Restart Mock Server
        Wait For Disconnection
        Client Should Be Back
    END
    Event Should Have Fired    disconnected    times=${restarts}
    Event Should Have Fired    reconnected    times=${restarts}
    Prompt Should Succeed

Validation Should Give
    [Documentation]    Compares the result of the validation. Options are those of `Validate Connection`.
    [Arguments]    ${expected}    &{options}
    ${valid} =    Validate Connection    &{options}
    Should Be Equal    ${valid}    ${expected}

Note The Failure
    [Documentation]    The callback: notes that the client has given up.
    Append To List    ${FAILURES}    gave up

Delays Should Be
    [Documentation]    Lets the client fail as often as delays are given, and compares them with what it did.
    [Arguments]    ${strategy}    ${base_delay}    ${max_delay}    @{delays}
    Start Mock Server
    ${attempts} =    Get Length    ${delays}
    Connect Client
    ...    strategy=${strategy}    base_delay=${base_delay}    max_delay=${max_delay}    max_attempts=${attempts}
    Kill Mock Server
    Wait For Event    reconnection_failed
    ${events} =    Get Events    reconnecting
    Length Should Be    ${events}    ${attempts}
    FOR    ${event}    ${delay}    IN ZIP    ${events}    ${delays}    mode=STRICT
        Should Be Equal As Numbers    ${event.data.delay}    ${delay}
    END
    Time Between Events Should Be At Least    ${events}    ${delays}

Time Between Events Should Be At Least
    [Documentation]    Compares the clock: the next event cannot come before the delay of this one has passed.
    [Arguments]    ${events}    ${delays}
    FOR    ${event}    ${next}    ${delay}    IN ZIP    ${events}[:-1]    ${events}[1:]    ${delays}[:-1]
        Should Be True    ${next.at} - ${event.at} >= ${delay}
    END

Nothing Should Be Left Of The Client
    [Documentation]    No thread of a client, and no connection of this process.
    ${threads} =    Evaluate    [thread.name for thread in threading.enumerate() if "ComfyClient" in thread.name]
    Should Be Empty    ${threads}
    ${connections} =    Evaluate    [each for each in psutil.Process().net_connections("tcp") if each.raddr]
    Should Be Empty    ${connections}
