"""The scripted offline model: deterministic, stateless, honest about what it is.

It speaks OpenAI Responses, OpenAI Chat Completions, Anthropic Messages and Gemini's API, and uses the tools
that a request offers, so real agents do real work with it. Everything that it answers follows from the request.
"""
