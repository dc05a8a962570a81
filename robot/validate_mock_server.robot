*** Settings ***
Documentation       Eight checks that the mock server itself works here. Run it first when something looks wrong.
...
...                 They go from what is simple to what builds on it: the first that fails is the one to look at. Each
...                 has a server of its own, so any of them can be run alone.

Library             Collections
Library             ComfyMockLibrary    timeout=20 s    shutdown_timeout=20 s

Test Setup          Start Mock Server

Test Tags           validation


*** Test Cases ***
1 Startup
    [Documentation]    The server runs, and says where.
    Mock Server Should Be Running
    ${server} =    Get Mock Server
    Should Be Equal    ${server.url}    http://127.0.0.1:${server.port}
    Should Not Be Empty    ${server.life_id}

2 HTTP Endpoints
    [Documentation]    The routes answer with what ComfyUI's have, with and without ``/api``.
    [Template]    Route Should Have
    # route    a key of its answer
    /queue    queue_running
    /prompt    exec_info
    /system_stats    system
    /features    supports_preview_metadata
    /api/queue    queue_pending
    /api/prompt    exec_info
    /api/system_stats    devices
    /api/features    max_upload_size

3 Websocket
    [Documentation]    A client can connect.
    Connect Client    alias=probe
    Connection State Should Be    connected

4 Status Message
    [Documentation]    The first message is a status with the client's id.
    Connect Client    alias=listener    client_id=my-client
    ${status} =    Wait For Event    status    sid=my-client
    Should Be Equal As Integers    ${status.data.status.exec_info.queue_remaining}    0

5 Shutdown
    [Documentation]    A graceful stop ends with a close frame and exit status 0.
    Connect Client    auto_reconnect=no
    ${status} =    Kill Mock Server
    Should Be Equal As Integers    ${status}    0
    Mock Server Should Not Be Running
    ${loss} =    Wait For Disconnection
    Should Be Equal As Integers    ${loss.data.code}    1001
    Should Be Equal    ${loss.data.reason}    server shutting down

6 Restart
    [Documentation]    The next life is another process on the same port.
    ${server} =    Get Mock Server
    ${url} =    Convert To String    ${server.url}
    Restart Mock Server
    Mock Server Should Be Running
    Should Be Equal    ${server.url}    ${url}
    Length Should Be    ${server.lives}    2
    Should Not Be Equal    ${server.lives[0].pid}    ${server.lives[1].pid}
    Should Not Be Equal    ${server.lives[0].life_id}    ${server.lives[1].life_id}

7 Client Reconnects
    [Documentation]    A client comes back after a restart and gets messages.
    Connect Client
    Restart Mock Server
    Wait For Connection
    Wait For Event    status

8 Nothing Left
    [Documentation]    After the end there is no process of any life, and the port takes no connection.
    ${server} =    Get Mock Server
    Kill All Mock Servers
    FOR    ${life}    IN    @{server.lives}
        ${exists} =    Evaluate    psutil.pid_exists(${life.pid})
        Should Not Be True    ${exists}
    END
    Run Keyword And Expect Error    *refused*    Connect Client    auto_reconnect=no


*** Keywords ***
Route Should Have
    [Documentation]    Fetches a route of the server and looks for a key in its answer.
    [Arguments]    ${route}    ${key}
    ${server} =    Get Mock Server
    ${answer} =    Evaluate    json.load(urllib.request.urlopen("${server.url}${route}", timeout=10))
    Dictionary Should Contain Key    ${answer}    ${key}
