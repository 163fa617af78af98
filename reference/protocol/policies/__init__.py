"""Policies that can be exchanged: when to reconnect (`reconnect`, `catalogue`), when to fall back to polling (`fallback`), when
to ping and when to give a silent connection up (`keepalive`).
"""
