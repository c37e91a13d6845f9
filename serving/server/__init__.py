"""The shell that both servers run in: limits, shedding, shutting down, metrics, logs, traces."""
