"""Where model answers come from, in words for a person."""

from collections.abc import Mapping

PROVIDERS = {
    "OpenAI": (("CODEX_API_KEY", "OPENAI_API_KEY"), "OPENAI_BASE_URL"),
    "Anthropic": (("ANTHROPIC_API_KEY",), "ANTHROPIC_BASE_URL"),
    "Google": (("GEMINI_API_KEY", "GOOGLE_API_KEY"), "GOOGLE_GEMINI_BASE_URL"),
}


def model_source(environment: Mapping[str, str]) -> str:
    """Which real providers are configured, or that the scripted model answers."""
    real = [
        f"{provider} ({environment.get(base) or next(key for key in keys if environment.get(key))})"
        for provider, (keys, base) in PROVIDERS.items()
        if environment.get(base) or any(environment.get(key) for key in keys)
    ]
    if real:
        return "real: " + ", ".join(real)
    return (
        "the scripted offline model: no provider key found. Set OPENAI_API_KEY, CODEX_API_KEY, "
        "ANTHROPIC_API_KEY or GEMINI_API_KEY for a real one."
    )
