*** Settings ***
Documentation       Every fault there is, a row each: what is set, and what a client sees of it.
...
...                 Columns are explained above each table; the last one is a keyword that sets a fault, with its
...                 arguments. The documentation of that keyword says what the fault is good for. What the expectations
...                 mean is in `faults.resource`.

Resource            faults.resource

Suite Setup         Start Mock Server    alias=faulty    node_duration=0 s    status_interval=0 s    seed=4

Test Tags           faults


*** Test Cases ***
Process Ends
    [Documentation]    The server ends at exactly the point that was asked for.
    [Template]    Server Should End With
    # exit status    close code    fault
    -9    1006    Crash Mock Server When    executing    node=2
    -9    1006    Crash Mock Server When    request    method=POST    path=/prompt
    0    1001    Stop Mock Server When    executing    node=2
    3    1006    Exit Mock Server    status=3
    4    1006    Exit Mock Server    status=4    when=executing node=2

Process Freezes And Goes On
    [Documentation]    A server that freezes in the middle of a prompt finishes it when it is thawed.
    Start Mock Server    node_duration=0 s
    Connect Client    ping_interval=None
    ${freeze} =    Freeze Mock Server When    executing    node=2    moment=before
    ${prompt} =    Queue Prompt
    Wait For Event    executing    node=1
    Wait For Fault    ${freeze}
    Event Should Not Fire    executing    timeout=200 ms    node=2
    Thaw Mock Server
    Wait For Event    executing    node=None
    Wait For Prompt    ${prompt}    success

Process Starts Slowly
    [Documentation]    The next life is not ready at once: nobody listens, then nothing is available.
    [Template]    Start Should Be Met With
    # error    fault
    *refused*    Slow Down Start    refused=1 minute
    upgrade refused with status 503    Slow Down Start    unavailable=1 minute

Listener
    [Documentation]    New connections cannot be had; what becomes of those that are open differs.
    [Template]    New Connection Should Fail With
    # error    open ones are    fault
    *refused*    kept    Refuse Connections
    *refused*    lost    Drop And Refuse Connections
    no connection within*    kept    Ignore Connections
    upgrade not answered within*    kept    Slow Down Accepting    1 minute
    *refused*    lost    Flap Connections    down=1 minute    up=1 minute

Bytes Come Late
    [Documentation]    A request is answered, later. No byte is missing.
    [Template]    Answer Should Take At Least
    # seconds    fault
    0.1    Add Latency    100 ms    direction=to_client
    0.1    Add Latency    100 ms    direction=to_server
    0.1    Add Latency    50 ms    direction=both
    0.05    Add Latency    100 ms    direction=to_client    jitter=50 ms    distribution=uniform
    0.05    Limit Bandwidth    2 kB/s    direction=to_client
    0.04    Slice Traffic    50    direction=to_client    delay=20 ms
    0.1    Slow Down Accepting    100 ms
    0.1    Delay Request    100 ms    GET    /queue
    0.1    Dribble Answer    GET    /queue    size=10    delay=30 ms

Bytes Stall
    [Documentation]    On a network that loses packets messages come late, in order, and none is missing.
    Connect Client    ping_interval=None    client_id=stalled
    ${stall} =    Stall Network    loss=30%    direction=to_client
    FOR    ${number}    IN RANGE    5
        Send Message    mock_unknown    {"number": ${number}}
    END
    FOR    ${number}    IN RANGE    5
        Wait For Event    mock_unknown    number=${number}
    END
    Wait For Fault    ${stall}
    [Teardown]    End Row

Bytes Do Not Come
    [Documentation]    A partition that heals loses nothing, a half-open connection loses what was sent.
    [Template]    Message Should Be
    # fate    fault
    held    Hold Network    direction=to_client
    held    Hold Network    direction=both
    lost    Silence Network    direction=to_client

Nobody Answers
    [Documentation]    The connection looks well. Only a client that pings notices that it is not.
    [Template]    Only The Heartbeat Should Notice
    # fault
    Suppress Pong
    Delay Pong    1 minute
    Hold Network    direction=to_server
    Silence Network    direction=to_server
    Silence Network    direction=to_client
    Stop Reading
    Send Raw Frame    truncated
    Send Raw Frame    oversized_announced

Connection Ends
    [Documentation]    Every way in which a connection can end, as the client is told.
    [Template]    Connection Should End With
    # close code    cause    fault
    1006    *reset*    Reset Connections
    1006    end of stream without close frame    End Connections
    1006    end of stream without close frame    Half Close Connections
    1012    close frame    Close Connections    code=1012    reason=service restart
    4000    close frame    Close Connections    code=4000

Connection Is Cut
    [Documentation]    A connection ends after so many bytes, whatever they are.
    [Template]    Request Should Fail With
    # error    fault
    *reset*    Cut Connections    20    direction=to_client
    *Remote end closed connection without response*    Cut Connections    0    direction=to_client    ending=fin
    *reset*    Cut Connections    20    direction=to_server

Connection Ends Late
    [Documentation]    What was said has arrived; the end of the connection comes only after a while.
    [Template]    Client Should Wait For The End At Least
    # seconds    the client waits for    fault
    0.2    the end of an answer    Slow Down Closing    200 ms
    0.2    the answer to its close frame    Slow Down Closing    200 ms    what=close_reply

Websocket Is Not Had
    [Documentation]    HTTP works, but no websocket can be had.
    [Template]    New Connection Should Fail With
    # error    open ones are    fault
    upgrade refused with status 503    kept    Refuse Upgrade
    upgrade refused with status 403    kept    Refuse Upgrade    status=403    nth=1    times=5
    upgrade not answered within*    kept    Hang Upgrade

Frames That No Client May Take
    [Documentation]    The client fails the connection, as RFC 6455 wants it.
    [Template]    Connection Should End With
    # close code    cause    fault
    1002    protocol error*    Send Raw Frame    rsv_bit
    1002    protocol error*    Send Raw Frame    reserved_opcode
    1002    protocol error*    Send Raw Frame    fragmented_control
    1002    protocol error*    Send Raw Frame    long_control
    1002    protocol error*    Send Raw Frame    bad_utf8
    1002    protocol error*    Send Raw Frame    continuation_without_start
    1002    protocol error*    Send Raw Frame    one_byte_close
    1009    message of*    Send Raw Frame    length_63_bits
    1002    protocol error*    Send Raw Frame    hex=83 00

Frames That A Client Takes
    [Documentation]    Rare and legal, or of no harm to this client: the connection goes on.
    [Template]    Connection Should Survive
    # fault
    Send Raw Frame    unasked_pong
    Send Raw Frame    one_byte_fragments
    Send Raw Frame    oversized    size=1 MiB
    Send Raw Frame    masked
    Send Raw Frame    hex=81 02 7b 7d
    Falsify Pong
    Send Message    mock_of_a_later_version    {"text": "unknown"}

Messages
    [Documentation]    The websocket stays valid; what is said on it does not.
    [Template]    Nodes Should Be Announced As
    # what the client sees    fault
    1 3 None    Drop Message    executing    node=2
    1 2 3 None    Drop Message    progress_state
    1 3 None    Drop Message    executing    nth=2
    1 2 3    Drop Message    executing    node=None
    1 2 2 3 None    Duplicate Message    executing    node=2
    1 2 2 2 3 None    Duplicate Message    executing    node=2    copies=2
    1 3 2 None    Reorder Message    executing    node=2    behind=4

Message Comes Late
    [Documentation]    The others go ahead of it, at the latest until its fault is cleared.
    [Template]    Second Node Should Be Announced Last
    # fault
    Delay Message    executing    1 minute    node=2
    Delay Message    executing    1 minute    nth=2

HTTP
    [Documentation]    Requests fail in all the ways in which they do in the wild.
    [Template]    Request Should Fail With
    # error    fault
    *status 503*    Fail Request    GET    /queue    status=503
    *status 404, gone*    Fail Request    GET    /queue    status=404    body=gone
    *no answer within 0.5 s*    Hang Request    GET    /queue
    *IncompleteRead*    Truncate Answer    GET    /queue
    *is no JSON*    Malform Json    GET    /queue
    *the answer is not as ComfyUI gives it: None*    Empty Answer    GET    /queue
    *reset*    Reset Request    GET    /queue
    *no answer within 0.5 s*    Dribble Answer    GET    /queue    delay=1 minute

Headers Of Answers
    [Documentation]    What an answer says about itself.
    [Template]    Header Should Be
    # header    value    fault
    Retry-After    2    Fail Request    GET    /queue    status=503    retry_after=2 s
    Content-Type    text/html    Falsify Content Type    GET    /queue    content_type=text/html

When A Fault Begins And Ends
    [Documentation]    From the n-th match on, so many times, with a share of the matches, or from an event on.
    [Template]    Statuses Should Be
    # statuses in a row    fault
    503 503 200 200    Fail Request    GET    /queue    status=503    times=2
    200 503 200 200    Fail Request    GET    /queue    status=503    nth=2
    200 503 503 200    Fail Request    GET    /queue    status=503    nth=2    times=2
    503 503 503 503    Fail Request    GET    /queue    status=503    when=request path=/queue
    200 200 503 503    Fail Request    GET    /queue    status=503    when=request path=/queue nth=3
    503 503 503 503    Fail Request    GET    /queue    status=503    lasting=1 minute
    200 200 200 200    Fail Request    GET    /queue    status=503    after=1 minute
    200 200 200 200    Fail Request    GET    /queue    status=503    probability=0%
    200 200 200 200    Fail Request    GET    /queue    status=503    client=somebody else

Application
    [Documentation]    ComfyUI's own failures, with its own messages.
    [Template]    Prompt Should End As
    # result    message    fault
    failure    execution_error    Fail Prompt    node=3    type=OutOfMemoryError
    failure    execution_error    Fail Prompt    class_type=ImageInvert    message=no such luck
    failure    execution_interrupted    Interrupt Prompt Unasked    node=2
    lost    none    Lose Queue    when=executing node=2
    lost    none    Forget Prompt    when=executing node=2
    success    execution_success    Delay History    100 ms
    success    none    Drop Message    terminal

Execution Is Held
    [Documentation]    A prompt stands still at a node until it is released.
    Connect Client
    ${hold} =    Hold Execution At    node=2
    ${prompt} =    Queue Prompt
    Wait For Fault    ${hold}
    Event Should Not Fire    executing    timeout=100 ms    node=3
    Release Execution
    Wait For Prompt    ${prompt}    success
    [Teardown]    End Row

History Is Lost Or Never Written
    [Documentation]    The messages have told the end of a prompt, but the history does not know it.
    [Template]    History Should Not Know A Prompt That Has Ended
    # fault
    Skip History
    Lose History    when=executing node=None

Output Files Are Lost
    [Documentation]    Messages and history name a file that is not there.
    Connect Client
    Lose Output Files
    Queue Prompt
    ${executed} =    Wait For Event    executed    node=3
    Wait For Prompt    result=success
    ${answer} =    Answer Of    GET    /view?filename=${executed.data.output.images}[0][filename]
    Should Be Equal As Integers    ${answer.status}    404
    [Teardown]    End Row

Client Id Is Taken Over
    [Documentation]    Somebody else has connected with the same clientId: the older websocket is open and gets nothing.
    Connect Client    auto_reconnect=no
    Take Over Client Id
    ${prompt} =    Queue Prompt
    Wait For Prompt    ${prompt}    success
    Event Should Not Fire    executing    timeout=0 s
    Connection State Should Be    connected
    [Teardown]    End Row

Network Faults Outlive A Restart
    [Documentation]    The network is still disturbed when the server comes back; its inside is not.
    Start Mock Server
    ${refusal} =    Refuse Upgrade    status=403    times=2
    ${failing} =    Fail Request    GET    /queue
    New Connection Should Not Be Had    upgrade refused with status 403
    Restart Mock Server
    New Connection Should Not Be Had    upgrade refused with status 403
    Fault Should Have Struck    ${refusal}    times=2
    Fault Should Have Struck    ${failing}    times=0
    Connect Client
    Connection Should Be Valid

Network Of Any Server
    [Documentation]    A proxy disturbs the network of a server that is no mock server. Here one stands in for it.
    ${server} =    Get Mock Server
    ${proxy} =    Start Network Proxy    upstream=127.0.0.1:${server.port}
    Connect Client    url=${proxy.url}    auto_reconnect=no
    Connection Should Be Valid
    Hold Network    direction=to_client    server=${proxy}
    Connection Should Not Be Valid    timeout=200 ms
    Release Network    server=${proxy}
    Connection Should Be Valid
    ${reset} =    Reset Connections    server=${proxy}
    ${loss} =    Wait For Disconnection
    Should Match    ${loss.data.cause}    *reset*
    Clear Fault    ${reset}
    Connect Client    url=${proxy.url}


*** Keywords ***
Client Should Wait For The End At Least
    [Documentation]    The end of a connection does not come before so many seconds.
    [Arguments]    ${seconds}    ${awaited}    ${fault}    @{arguments}    &{options}
    Connect Client    auto_reconnect=no
    Run Keyword    ${fault}    @{arguments}    &{options}
    ${began} =    Evaluate    time.monotonic()
    IF    $awaited == 'the end of an answer'
        Read Answer To Its End
    ELSE
        Close Client
    END
    Should Be True    time.monotonic() - ${began} >= ${seconds}
    [Teardown]    End Row

Read Answer To Its End
    [Documentation]    Asks for the queue on a connection of its own, and reads until the server ends it.
    ${server} =    Get Mock Server
    ${socket} =    Evaluate    socket.create_connection(("127.0.0.1", ${server.port}), 20)
    ${request} =    Evaluate    b"GET /queue HTTP/1.0\\r\\n\\r\\n"
    Call Method    ${socket}    sendall    ${request}
    ${stream} =    Call Method    ${socket}    makefile    rb
    ${answer} =    Call Method    ${stream}    read
    Call Method    ${socket}    close
    Should Contain    ${answer}    ${{b"queue_running"}}

History Should Not Know A Prompt That Has Ended
    [Documentation]    The client has seen the end of a prompt, and the history has no entry for it.
    [Arguments]    ${fault}    @{arguments}    &{options}
    Connect Client
    Run Keyword    ${fault}    @{arguments}    &{options}
    ${prompt} =    Queue Prompt
    Wait For Event    executing    node=None    prompt_id=${prompt.prompt_id}
    ${history} =    Get History    ${prompt}
    Should Be Empty    ${history}
    [Teardown]    End Row
