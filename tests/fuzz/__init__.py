"""Mutated records through the decoders and through the whole service; ``python -m tests.fuzz --help``."""
