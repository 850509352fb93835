"""OpenLLMetry and trisignal on the same OpenAI client."""

from __future__ import annotations

from coexistence.scenarios.openai_calls import make
from coexistence.scene import begin
from opentelemetry.instrumentation.openai import OpenAIInstrumentor

scene = begin()
OpenAIInstrumentor().instrument(tracer_provider=scene.tracer_provider)
scene.report(calls=make(scene.url))
