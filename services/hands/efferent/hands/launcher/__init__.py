"""The launcher: a small process without threads that starts sandboxes and runs file tools inside them.

The hands themselves have threads (gRPC), and a process with threads must not run code between fork and exec. So they
ask this one, which imports nothing but the standard library: a fork of it costs about a millisecond.
"""
