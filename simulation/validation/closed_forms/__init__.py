"""Closed forms: what is known exactly about parts of this world, to hold the simulator against (`simulation.validation`).

Pure functions of plain numbers; nothing here knows the simulator. Each names its model, its units and where it comes from.

    backoff     attempts and time until reconnected, after an exponential outage
    onoff       the same on a network that comes and goes
    herd        many clients at once: bins, the last one, and a server that accepts so many a second
    queues      M/M/1, M/D/1, M/G/1, M/M/c
    loss        bursts of loss (Gilbert-Elliott)
    detection   how long a dead connection looks alive
    polling     how late HTTP polling is
    outbox      how often an outage overflows a bounded queue
    staleness   what share of events an unreliable line delays, and by how much
    stream      delays of an in-order stream: head-of-line blocking
    tcp         when TCP sends again, and when it gives up
"""
