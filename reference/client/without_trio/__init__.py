"""The client for programs that do not run on trio: `portal` is trio in a thread of its own; `blocking` (scripts, notebooks) and
`asyncio_client` speak through it."""
