"""The server: the pure machines of `reference.protocol`, driven by trio, real sockets and a store."""
