"""restead brings servers back: whole virtual machines in a sealed repository, restored bit for bit."""

__version__ = "0.1.0"
