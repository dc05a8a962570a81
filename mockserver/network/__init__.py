"""Faults of the network: what happens to bytes on their way, to connections and to listening sockets."""
