"""What ComfyUI does. Knows no fault, no test and no process: those attach through ``ports``."""
