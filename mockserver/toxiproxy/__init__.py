"""A TCP proxy in front of any server, with the HTTP API of Toxiproxy 2, so that its clients can steer it."""
