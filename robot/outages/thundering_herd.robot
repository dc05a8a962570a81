*** Settings ***
Documentation       Five hundred clients come back at once.
...
...                 They are plain websockets in a process of their own, with delays that grow and vary. Our own client
...                 is the last of them.

Library             Process
Resource            outages.resource

Test Tags           outage    own-client


*** Test Cases ***
All Clients Are Back
    [Documentation]    After the crash every client of the herd is connected again, and so is ours, which still works.
    Start Outage    thundering-herd
    ${server} =    Get Mock Server
    Herd Comes To    ${server}    499
    Connect Client    base_delay=50 ms    max_delay=1 s    max_attempts=None    jitter=0.5    connect_timeout=30 s
    Outage Should Be Over
    ${counts} =    Herd Goes Home
    Should Be Equal As Integers    ${counts}[connected]    499
    Should Be True    ${counts}[attempts] >= 2 * 499
    [Teardown]    Terminate All Processes


*** Keywords ***
Herd Comes To
    [Documentation]    Starts so many clients; they stay until `Herd Goes Home`.
    [Arguments]    ${server}    ${clients}
    ${python} =    Evaluate    sys.executable
    Start Process    ${python}    -m    ComfyMockLibrary.herd    ${server.url}    ${clients}
    ...    alias=herd    stdin=PIPE    stderr=STDOUT

Herd Goes Home
    [Documentation]    Lets the clients leave, and returns what they have counted.
    ${process} =    Get Process Object    herd
    Call Method    ${process.stdin}    close
    ${result} =    Wait For Process    herd    timeout=30 s    on_timeout=kill
    Should Be Equal As Integers    ${result.rc}    0    ${result.stdout}
    ${counts} =    Evaluate    json.loads($result.stdout)
    RETURN    ${counts}
