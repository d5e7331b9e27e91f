"""Where a model call goes: a real endpoint over HTTP, or the scripted offline model in this process."""
