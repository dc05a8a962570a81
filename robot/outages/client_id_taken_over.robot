*** Settings ***
Documentation       The end of an old websocket takes the registration of the new one with it.
...
...                 Reported as Comfy-Org/ComfyUI pull 16243. The client is connected, and yet nothing of its jobs is
...                 sent to it. It must find the result all the same.

Resource            outages.resource

Test Tags           outage    own-client


*** Test Cases ***
Result Is Found Without A Registration
    [Documentation]    The server has forgotten the clientId: the rest of the job's messages go to nobody.
    Client Meets The Outage    client-id-taken-over
    Track Event    execution_success
    ${prompt} =    Queue Prompt
    Job Should Be Found    ${prompt}
    Event Should Not Have Fired    execution_success
    Outage Should Be Over
