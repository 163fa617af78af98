"""The hostile link: the bare machines, joined by everything that TCP and a dying server can do, one step at a time.

    setup     what a world begins with: users, settings, chance           (`ground.Setup`)
    steps     what can happen next, as values; a schedule is a list       (`steps`)
    world     real client sessions, a real run, wires between them        (`world.World`)
    journal   the guarantees, watched as things pass                      (`journal.Journal`)
    settling  the end of every schedule: faults stop, all must come right (`settling.play`)
    case      a setup and a schedule with a name, as a TOML file          (`case.Case`)
    tape      what was said, as lines or as a sequence diagram            (`message_log.Tape`)

Nothing here needs Hypothesis: `simulation.testing` draws schedules, `steadywire replay` plays the ones that were kept.
"""
