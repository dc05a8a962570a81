*** Settings ***
Documentation       The websocket handshake is accepted by TCP and never answered.
...
...                 Reported as aqm857886159/Nomi pull 715. The client must give the handshake up, and must not take it
...                 for a connection.

Resource            outages.resource

Test Tags           outage    own-client


*** Test Cases ***
Handshake Is Given Up And Tried Again
    [Documentation]    The first attempts hang, and the connection is had as soon as handshakes are answered.
    Client Meets The Outage    upgrade-unanswered    connect_timeout=500 ms
    Outage Should Be Over
    @{losses} =    Get Events    disconnected
    Length Should Be    ${losses}    1
    @{connections} =    Get Events    connected    since=${losses}[0]
    Length Should Be    ${connections}    1
    @{recoveries} =    Get Events    reconnected    since=${losses}[0]
    Length Should Be    ${recoveries}    1
