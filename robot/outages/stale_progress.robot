*** Settings ***
Documentation       Progress from before the outage comes after it.
...
...                 Reported as Comfy-Org/ComfyUI_frontend pull 9893. What belongs to a job that is lost must not be
...                 taken for news.

Resource            outages.resource

Test Tags           outage    own-client


*** Test Cases ***
Stale Progress Does Not Bring A Lost Job Back
    [Documentation]    The job is lost although a message about it still comes.
    Client Meets The Outage    stale-progress
    ${prompt} =    Queue Prompt
    Wait For Event    executing    prompt_id=${prompt.prompt_id}
    Wait For Event    progress    prompt_id=${prompt.prompt_id}
    Wait For Prompt    ${prompt}    lost
    Outage Should Be Over

Nothing Of Before The Outage Is Seen After It
    [Documentation]    After the reconnection waits look at the new connection only: what came before is out of sight.
    Client Meets The Outage    stale-progress
    ${prompt} =    Queue Prompt
    Wait For Event    executing    prompt_id=${prompt.prompt_id}
    Outage Should Be Over
    Event Should Not Fire    executing    timeout=300 ms
