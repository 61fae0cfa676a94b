"""Following the session: one file for each source of tempo, and `session` that picks among them."""
