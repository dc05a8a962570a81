"""The keywords: thin components that convert, call the engine, log and raise."""
