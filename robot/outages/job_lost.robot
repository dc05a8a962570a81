*** Settings ***
Documentation       A job runs, the server restarts, and nobody knows the job any more.
...
...                 Reported as artokun/comfyui-mcp issue 2507. The client must say that the job is lost: neither wait
...                 for ever nor report success.

Resource            outages.resource

Test Tags           outage    own-client


*** Test Cases ***
Job Is Called Lost
    [Documentation]    The queue and the history of the new life are empty, and the client draws the conclusion.
    Client Meets The Outage    job-lost
    Track Event    execution_success
    ${prompt} =    Queue Prompt
    ${outcome} =    Wait For Prompt    ${prompt}    lost
    Should Be Empty    ${outcome.outputs}
    Event Should Not Have Fired    execution_success
    Outage Should Be Over

Next Job Succeeds
    [Documentation]    A lost job does not stand in the way of the next one.
    Client Meets The Outage    job-lost
    ${lost} =    Queue Prompt
    Wait For Prompt    ${lost}    lost
    Outage Should Be Over
    ${next} =    Queue Prompt
    Job Should Be Found    ${next}
