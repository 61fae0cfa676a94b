"""MusicGen for the digital audio workstation."""

__version__ = "0.1.0"
