"""PLACEHOLDER until the real module lands; overwrite me."""
import json


def render(value, redactor, budget_bytes): return json.dumps(value, ensure_ascii=False), 0
def shorten(text, budget_bytes): return text[:budget_bytes], 0
