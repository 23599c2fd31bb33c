"""The client of the server that `emoclip-clinical serve` starts."""
