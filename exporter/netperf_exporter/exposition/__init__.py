"""From sources to the text that Prometheus scrapes."""
