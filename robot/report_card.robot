*** Settings ***
Documentation       Report card: a client of anybody's meets one outage after the other.
...
...                 ``robot --variable CLIENT:"node my_client.js {url}" robot/report_card.robot``. Each test has a
...                 client and a server of its own, and judges by what the server has seen. It is skipped where an
...                 outage says nothing about the client, and all of them are without a client.

Library             ComfyMockLibrary

Suite Setup         Have A Client
Test Template       Client Should Survive

Test Tags           outage    report-card


*** Variables ***
${CLIENT}           ${EMPTY}
${PATIENCE}         ${NONE}


*** Test Cases ***
Client Id Taken Over
    [Documentation]    An old connection's end takes the new one's registration with it.
    client-id-taken-over
Crash
    [Documentation]    The server crashes and comes back.
    crash
Duplicate Messages
    [Documentation]    Every message comes twice.
    duplicate-messages
Fast Job
    [Documentation]    The job has ended before the answer that it is queued.
    fast-job
Foreign Messages
    [Documentation]    Messages about the prompts of others.
    foreign-messages
Frozen
    [Documentation]    The server freezes and is thawed.
    frozen
Half Open
    [Documentation]    The connection is dead and nobody says so.
    half-open
History Late
    [Documentation]    Success is announced before the history knows it.
    history-late
HTTP Down
    [Documentation]    The websocket works, HTTP does not.
    http-down
Job Lost
    [Documentation]    The server restarts while a job runs, and the job is lost.
    job-lost
Job Socket Lost
    [Documentation]    The websocket is lost while a job runs, and the job goes on.
    job-socket-lost
Long Outage
    [Documentation]    The server is down for a long time.
    long-outage
Malformed Frame
    [Documentation]    A frame that breaks the protocol.
    malformed-frame
Oversized Frame
    [Documentation]    A frame that is larger than most clients take.
    oversized-frame
Reset
    [Documentation]    All connections are reset.
    reset
Restart
    [Documentation]    The server is stopped and started again.
    restart
Second Outage
    [Documentation]    A second outage after a good recovery.
    second-outage
Silent Websocket
    [Documentation]    The websocket stays open and silent.
    silent-websocket
Slow Network
    [Documentation]    A slow network.
    slow-network
Slow Start
    [Documentation]    The server is slow to start.
    slow-start
Stale Progress
    [Documentation]    Progress from before the outage comes after it.
    stale-progress
Third Outage
    [Documentation]    Three outages of different kinds.
    third-outage
Too Many Requests
    [Documentation]    The server asks for patience with 429.
    too-many-requests
Upgrade Refused 403
    [Documentation]    The websocket is refused with 403.
    upgrade-refused-403
Upgrade Refused 503
    [Documentation]    The websocket is refused with 503.
    upgrade-refused-503
Upgrade Unanswered
    [Documentation]    The websocket handshake is never answered.
    upgrade-unanswered
Websocket Refused
    [Documentation]    HTTP works, the websocket is refused.
    websocket-refused


*** Keywords ***
Have A Client
    [Documentation]    Skips everything when nobody says which client.
    Skip If
    ...    not $CLIENT
    ...    No client is given: robot --variable CLIENT:"node my_client.js {url}" robot/report_card.robot

Client Should Survive
    [Documentation]    One outage. PATIENCE, if given, is how long the client may take.
    [Arguments]    ${outage}
    Client Should Survive Outage    ${outage}    ${CLIENT}    timeout=${PATIENCE}
