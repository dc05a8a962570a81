"""What goes wrong on purpose: descriptions of faults, when they strike, and what they do at the ports of the server."""
