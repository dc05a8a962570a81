*** Settings ***
Documentation       The websocket is lost in a long run, and the job goes on.
...
...                 Reported as Comfy-Org/comfy-cli issue 200 and igorls/comfyui-node issue 4. The client must find the
...                 result in the history.

Resource            outages.resource

Test Tags           outage    own-client


*** Test Cases ***
Result Is Found In The History
    [Documentation]    The end of the job is announced to nobody, since no handshake succeeds before it.
    Client Meets The Outage    job-socket-lost
    Track Event    execution_success
    ${prompt} =    Queue Prompt
    Wait For Disconnection
    Job Should Be Found    ${prompt}
    Event Should Not Have Fired    execution_success
    Outage Should Be Over
