"""What answers over HTTP: the server of `serve`, and the local page of `view`."""
