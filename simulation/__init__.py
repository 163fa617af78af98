"""steadywire's laboratory: the same protocol machines in virtual time, on networks that misbehave."""
