"""The cases for a server, by subject. `SERVER_CASES` has all of them, in the order of the document."""

from simulation.conformance.server_cases import calls, handshake, malformed, places, publishing, sessions

SERVER_CASES = [case for module in (handshake, malformed, publishing, places, sessions, calls) for case in module.registry.cases]
