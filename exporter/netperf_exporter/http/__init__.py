"""What is served over HTTP, and the server that serves it."""
