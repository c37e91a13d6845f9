"""What people and Prometheus see of monitoring: records and their history, the status page, gauges, alerts, the dashboard."""
