"""The cases for a client, by subject. `CLIENT_CASES` has all of them."""

from simulation.conformance.client_cases import attempts, fallback, receiving, sending

CLIENT_CASES = [case for module in (attempts, receiving, sending, fallback) for case in module.registry.cases]
