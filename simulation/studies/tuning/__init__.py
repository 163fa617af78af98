"""Tuning: `steadywire tune`, from a question to settings that can be shipped.

question      what is asked: objectives, constraints, scenarios; and how one setting is scored
space         which settings there are
evaluation    a setting in all scenarios: run and scored
search        the search, and the choice among its finalists
selection     which finalist is the best, and how sure that is
sensitivity   which parameters matter
scale_check   how far the answer of a scaled study is from the full one
report        the answer, for people and as settings files
"""
