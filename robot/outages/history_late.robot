*** Settings ***
Documentation       Success is announced before the history knows of it.
...
...                 Several published clients read the history at that very moment, and only once. The client must ask
...                 again, and must not call the job lost meanwhile.

Resource            outages.resource

Test Tags           outage    own-client


*** Test Cases ***
History Is Asked Again
    [Documentation]    The message comes, the history is empty, and a moment later the result is there.
    Client Meets The Outage    history-late
    ${prompt} =    Queue Prompt
    Wait For Event    execution_success    prompt_id=${prompt.prompt_id}
    ${history} =    Get History
    Should Be Empty    ${history}
    Job Should Be Found    ${prompt}
    Outage Should Be Over
