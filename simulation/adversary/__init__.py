"""The adversarial world: bare machines, joined by a network and a server with arbitrary faults, one step at a time.

    setup     the beginning of a world: users, settings, random numbers     (`ground.Setup`)
    steps     the possible steps, as values; a schedule is a list of them   (`steps`)
    world     real client sessions, a real run, wires between them         (`world.AdversarialWorld`)
    journal   writes the trace of everything that happens                  (`journal.Journal`)
    settling  the end of every schedule: faults stop, everything recovers  (`settling.play`)
    case      a setup and a schedule with a name, as a TOML file          (`case.Case`)
    messages  all messages, as lines or as a sequence diagram              (`trace.messages.MessageLog`)

Nothing here needs Hypothesis: `simulation.testing` generates schedules, `steadywire replay` runs saved ones.
"""
