"""Closed forms: exact results of theory with which the simulator is compared (`simulation.validation`).

Pure functions of plain numbers, independent of the simulator. Each names its model, units and source.

    backoff     attempts and time until reconnected, after an exponential outage
    onoff       the same on a network with uptimes and downtimes
    herd        many clients at once: bins, the last one, and a server with a limited accept rate
    queues      M/M/1, M/D/1, M/G/1, M/M/c
    loss        bursts of loss (Gilbert-Elliott)
    detection   how long a dead connection goes unnoticed
    polling     how late HTTP polling is
    outbox      how often an outage overflows a bounded queue
    staleness   the share of events that an unreliable link delays, and by how much
    stream      delays of an in-order stream: head-of-line blocking
    tcp         when TCP retransmits, and when it gives up
"""
