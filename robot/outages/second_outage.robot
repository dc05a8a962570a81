*** Settings ***
Documentation       A second outage comes after a first good recovery.
...
...                 Seen in comfyui-node 1.10: the second outage is never noticed, the state stays connected, and jobs
...                 hang. The client must notice each outage like the first.

Resource            outages.resource

Test Tags           outage    own-client


*** Test Cases ***
Second Outage Is Noticed
    [Documentation]    A restart, a recovery that settles, and a crash.
    Client Notices Outages    second-outage    2

Third Outage Is Noticed
    [Documentation]    A restart, a crash, and a reset of all connections.
    Client Notices Outages    third-outage    3


*** Keywords ***
Client Notices Outages
    [Documentation]    As many losses and as many recoveries as there were outages, and work is done after the last.
    [Arguments]    ${outage}    ${times}
    Client Meets The Outage    ${outage}
    Outage Should Be Over
    @{losses} =    Get Events    disconnected
    Length Should Be    ${losses}    ${times}
    @{recoveries} =    Get Events    reconnected
    Length Should Be    ${recoveries}    ${times}
    ${prompt} =    Queue Prompt
    Job Should Be Found    ${prompt}
