"""Outages as data: what their files may say, how they are read, and what one life plays of them."""
