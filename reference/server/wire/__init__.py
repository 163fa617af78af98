"""The byte level of the server: sockets, HTTP and WebSocket framing, and nothing of the protocol's machines.

From the bottom up: `push_stream` (a socket, or `memory_stream` in virtual time), `limits`, `request_head`, `http_wire` and
`exchange` (HTTP), `websocket`, `front_door` (one connection), `listener` (all of them).
"""
