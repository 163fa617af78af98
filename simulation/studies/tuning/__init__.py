"""Tuning: `steadywire tune` finds the settings that answer a question.

question      objectives, constraints, scenarios; and the score of one setting
space         the space of settings
evaluation    runs and scores a setting in all scenarios
search        the search, and the choice among its finalists
selection     which finalist is the best, and how certain that is
presets       comparison with the policies of well-known systems
sensitivity   which parameters matter
scale_check   the difference between a scaled answer and the full one
report        the result, for people and as settings files
"""
