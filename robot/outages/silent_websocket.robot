*** Settings ***
Documentation       The websocket stays open, and not one message comes.
...
...                 Reported as SaladTechnologies/comfyui-api issue 186. The client must not rely on messages alone.

Resource            outages.resource

Test Tags           outage    own-client


*** Test Cases ***
Result Is Found Although No Message Comes
    [Documentation]    The job ends unheard, the connection is fine all the time, and the history has the result.
    Client Meets The Outage    silent-websocket
    Track Event    disconnected
    ${prompt} =    Queue Prompt
    Job Should Be Found    ${prompt}
    ${messages} =    Get Events    executing
    Should Be Empty    ${messages}
    Event Should Not Have Fired    disconnected
    Outage Should Be Over
