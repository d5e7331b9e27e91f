"""What lies behind the gateway: the workspace service's files, the outputs' bucket, everybody's health."""
