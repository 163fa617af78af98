"""`steadywire verify`: does the simulator reproduce what is known? Every closed form of `simulation.validation.closed_forms`
against it.

experiment     what an experiment is, and when a number agrees
worlds         worlds in which nothing happens but what an experiment is about
policies       reconnect policies, as shipped and as the theory has them
reconnecting, roaming, herding, queueing, losing, detecting, polls, outboxes, late, streams, transport
               the experiments, by what they are about
catalogue      all of them, over ranges of their parameters
run            replications, spread over processes
report         the table, for a terminal, for a page and as JSON
command        the command
"""
