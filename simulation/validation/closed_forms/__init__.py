"""Closed forms: exact results of theory with which the simulator is compared (`simulation.validation`).

Pure functions of plain numbers, independent of the simulator. Each names its model, units and source.

    backoff     attempts and time until reconnected, after an exponential outage
    onoff       the same on a network with uptimes and downtimes
    herd        many clients at once: bins, the last one, and a server with a limited accept rate
    queues      M/M/1, M/D/1, M/G/1, M/M/c
    sharing     a bottleneck that all clients share equally
    clients     devices, names and ports: uniform phases, fixed waits, a pool without a queue
    loss        bursts of loss, one step for each packet (Gilbert-Elliott)
    fades       bursts of loss in time
    detection   how long a dead connection goes unnoticed
    races       pings that come too late for a middlebox
    polling     how late HTTP polling is
    outbox      how often an outage overflows a bounded queue
    staleness   the share of events that an unreliable link delays, and by how much
    stream      delays of an in-order stream: head-of-line blocking
    tcp         when TCP retransmits, and when it gives up
    linux       timeouts and slow start as Linux has them
"""
