"""The client half of the protocol. Read `session` first; it puts the other parts together.

publishing                     the outbox; publishes, their answers and retries
delivery                       events in order, snapshots, resets, presence; flow control towards the application
connectivity (polling)         WebSocket, reconnect, fallback to polling and return from it
keepalive, health              pings and silence; latency, delivery rate, quality
client_report                  client-side counters reported to the server; kept until acknowledged
context, outcomes              shared state of the parts; reports to the application
"""
