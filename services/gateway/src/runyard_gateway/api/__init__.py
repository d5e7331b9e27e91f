"""HTTP and WebSocket routes: thin; each names a command or a query."""
