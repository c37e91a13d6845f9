"""The outputs of monitoring: records and their history, the status page, gauges, alerts, the dashboard."""
