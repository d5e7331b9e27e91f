"""What a service stands on: settings, logs, HTTP app, auth check, database, commands, metrics, tracing."""
