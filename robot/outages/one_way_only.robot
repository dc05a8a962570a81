*** Settings ***
Documentation       HTTP works and the websocket does not, and the reverse.
...
...                 A proxy without support for upgrades does the former; a client that has seen it with 403 and without
...                 a delay between its attempts has run out of memory (@saintno/comfyui-sdk issue 21).

Resource            outages.resource

Test Tags           outage    own-client


*** Test Cases ***
Websocket Is Refused While HTTP Works
    [Documentation]    The job is done over HTTP alone, and the attempts to get a websocket have delays.
    Start Outage    websocket-refused
    Connect Client    wait=no    strategy=constant    base_delay=200 ms    max_attempts=None
    ${prompt} =    Queue Prompt
    Job Should Be Found    ${prompt}
    Outage Should Be Over
    @{attempts} =    Get Events    reconnecting
    FOR    ${one}    ${next}    IN ZIP    ${attempts}[:-1]    ${attempts}[1:]
        Should Be True    ${next.at} - ${one.at} >= 0.2
    END

HTTP Fails While The Websocket Works
    [Documentation]    A request that fails is no failure of the job, and no loss of the connection.
    Client Meets The Outage    http-down
    Track Event    disconnected
    ${prompt} =    Queue Prompt
    Wait For Event    execution_success    prompt_id=${prompt.prompt_id}
    Wait For Prompt    ${prompt}    success
    Event Should Not Have Fired    disconnected
    Outage Should Be Over
