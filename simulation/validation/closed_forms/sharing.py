"""A bottleneck shared equally by all clients that have something to send: processor sharing.

For Poisson arrivals the number of those that are served is geometric, and the mean time of a job of size s is s / (1 - load),
whatever the distribution of sizes. Source: L. Kleinrock, Journal of the ACM 14, 1967.
"""


def mean_time_s(service_s: float, load: float) -> float:
    """The mean time from coming to leaving."""
    return service_s / (1 - load)


def alone(load: float) -> float:
    """P(nobody else is served when one comes)."""
    return 1 - load


def together_s(clients: int, size_bytes: int, bytes_per_s: float) -> float:
    """When equal jobs that come together leave, all at once."""
    return clients * size_bytes / bytes_per_s
