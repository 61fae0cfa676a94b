"""Recordings in, stems out: the only room that writes audio."""
