"""The server half of the protocol: one run. Read `run` first; it puts the other parts together. Then `driver`: its turn.

handshake, connection, connection_table   how a connection enters, what it may say, how it ends
sequencer, fold, event_log                publishes in, numbered events out; the state; the retained window
fan_out                                   every reader is a cursor into the log
sessions (session_table)                  sessions, presence, cursors
http_requests, answers                    the same run over HTTP polling
driver, outgoing                          the turn around a run, the same in every world; what waits for one socket
context, observations                     what the parts share; what monitoring is given
"""
