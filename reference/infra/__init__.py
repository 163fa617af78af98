"""Files for operators' own tools; the server imports none of them.

grafana-websocket-dashboard.json     import it in Grafana; the data source is a variable
websocket-alerts.yml                 name it in Prometheus' `rule_files`; docs/operations.md says what to do at each alert
websocket-alerts.test.yml            `promtool test rules websocket-alerts.test.yml`
prometheus.yml                       a Prometheus that scrapes one server on this machine, with these alerts
"""
