"""bratseval: the official scores of brain-tumour image challenges, from a YAML file."""

__version__ = "0.1.0"
