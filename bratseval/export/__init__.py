"""Finished result folders in the formats of other platforms and tools, a module each."""
