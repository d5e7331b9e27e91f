"""`python -m runyard_llm_gateway`: the service by itself, configured by the environment."""

from runyard_chassis import run_service
from runyard_llm_gateway.app import build
from runyard_llm_gateway.settings import LlmGatewaySettings

if __name__ == "__main__":
    run_service(build, LlmGatewaySettings)
