"""One fold for every stream, the tap on its bytes, decoders."""
