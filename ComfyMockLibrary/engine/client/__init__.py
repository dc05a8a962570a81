"""The reference client of ComfyUI's protocol: reconnects, notices dead servers, records what it saw."""
