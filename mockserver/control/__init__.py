"""How a test steers a life and reads its state: a second listener on loopback that no fault touches."""
