"""The server half of the protocol: one run. Read `run` first; it combines the other parts. Then read `driver`.

handshake, connection                     how a connection joins, and what it may send
sequencer                                 from publishes to numbered events; the state of the run
event_log                                 the retained window; every reader is a cursor into it
sessions                                  sessions, presence, cursors
http_requests                             the same run over HTTP polling
driver                                    the driver of a run, the same in every world, and the queue of each socket
context, observations                     shared state of the parts; reports to monitoring
"""
