"""The server's addresses, a file for each thing that can be asked."""
