"""Pages, REST and an OTLP receiver over what was recorded; the extra ``console``."""
