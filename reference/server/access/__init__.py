"""Access: who may connect, as which user, and the limits of one user.

admission  the order of the checks of an upgrade or a request
auth       tokens and their users (4)
origins    which web pages may use this server (10.5)
users      connections, requests and new runs of one user, over all runs; users refused by an operator
"""
