"""Several server processes, one PostgreSQL: any of them takes any client, and one of them serves each run.

    client --- process B --- relay --- process A, the run's owner --- PostgreSQL
                  |                                                      |
                  +---------------- who owns the run? -------------------+

The owner has the run's machine in memory, as a server that is alone has it: one sequencer, one dedupe, one
presence, one log. So processes need no agreement with each other, and an event published over one reaches the
readers of all in one step. The others relay: a WebSocket byte for byte, a request as a request.

    membership        this process's part in it: joins, says that it lives, gives up its runs when it is cut off
    router            which process a request or an upgrade is for; remembered until a process refuses (421)
    upgrade_relay     carries one WebSocket to the run's owner
    frame_boundaries  where a frame ends, so that a goodbye can be put behind it
    request_relay     carries requests over HTTP there
    peer_processes    the other processes, all asked at once
    admin             lists and figures of all of them

What the owner answers for is decided by the owner: it judges token, origin and frames as if the client had come
to it directly. The process in between judges what it can see too, so that nobody without a token costs more
than one process. That it is another process of ours that relays is shown by a secret, which each process draws
when it joins and which those can read who can read the database; it saves a second relay and is no way in.

A process that serves alone, on SQLite or in memory, makes none of this.
"""
