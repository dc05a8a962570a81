"""What happens to the bytes of connections, and to the listener that accepts them."""
