"""A process of its own for every file that came from outside, with limits that the kernel keeps.

Decoders are large and written in C: a hostile file may take all memory, hang, or crash them. So
the server never opens an uploaded file itself. A small fork server, started once, holds the
libraries and forks a process for each file; that process reads the file and sends pictures to the
server, which answers with vectors. Weights never leave the server, and what comes back is JSON and
raw numbers of checked size, never a pickle.

fork_server  the process that forks, and nothing else
processes    the server's side of it: start, kill, wait
limits       what the kernel holds a forked process to
messages     the channel between the two
orders       what travels over it
plain_tables tables as JSON and raw columns
worker       what a forked process does
remote       how `read_interview` reaches the model from there
sessions     what the server does for one process
talks        all that is tried with one file
reader       VideoReader: one call for a file
"""
