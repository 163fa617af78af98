"""What operators load into their own tools; nothing here is imported by the server.

grafana-websocket-dashboard.json     import it in Grafana; the data source is a variable
websocket-alerts.yml                 name it in Prometheus' `rule_files`; docs/operations.md says what to do at each alert
websocket-alerts.test.yml            `promtool test rules websocket-alerts.test.yml`
prometheus.yml                       a Prometheus that scrapes one server on this machine, with these alerts
"""
