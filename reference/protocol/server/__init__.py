"""The server half of the protocol: one run. Read `run` first; it combines the other parts. Then read `driver`.

handshake, connection, connection_table   how a connection joins, which frames it may send, how it ends
sequencer, event_log                      from publishes to numbered events, and the state of the run; the retained window
fan_out                                   every reader is a cursor into the log
sessions                                  sessions, presence, cursors
http_requests                             the same run over HTTP polling
driver, outgoing                          the driver of a run, the same in every world; the queue of one socket
context, observations                     shared state of the parts; reports to monitoring
"""
