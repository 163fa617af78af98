"""Replaceable policies: when to reconnect (`reconnect`, `catalogue`), when to fall back to polling (`fallback`), when to ping and
when to give up a silent connection (`keepalive`).
"""
