"""The simulated network: one direction of a connection (`pipe`, `delay`, `tcp`, `loss`), a whole connection, a client's access
link."""
