"""The local web page: a client of the desk inside the daemon's process, for a browser on this machine."""
