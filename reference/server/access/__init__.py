"""Access: who may come in, as whom, and how much one user may take.

admission      the order in which an upgrade and a request are asked
auth           a token, and whose it is (4)
origins        which web pages may talk to this server (10.5)
user_limits    connections, requests and new runs of one user, over all runs
refused_users  the users that an administrator keeps out
"""
