"""The OSC side of the daemon: bytes, sockets, the table of commands, and the desk that answers them."""
