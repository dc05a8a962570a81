"""The report card: leads anybody's client through outages, and says from the server's side how it fared."""
