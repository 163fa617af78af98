"""The conformance kit: judges any server or client of the protocol over the network.

It is written from docs/protocol.md alone and does not import `reference`, so that it is an independent oracle: where the kit and
our code disagree, one of them has misread the text, or the text is unclear. docs/conformance.md says how to use it.

Read in this order: `wire` (bytes), `frames` (the tables of section 4), `clauses` (what the document has), `cases` (case, verdict,
runner), `server_bench` and `server_cases` (the kit as a client), `applications`, `client_bench` and `client_cases` (the kit as a
server), `report`, `command`. `examples` has a program for the Python client; it alone imports `reference`.
"""
