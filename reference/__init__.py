"""steadywire's reference: the protocol as pure machines, and the trio server and client that run them."""
