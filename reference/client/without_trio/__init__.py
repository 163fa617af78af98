"""The client for programs that do not use trio: `portal` runs trio in a background thread; `blocking` (scripts, notebooks) and
`asyncio_client` use it."""
