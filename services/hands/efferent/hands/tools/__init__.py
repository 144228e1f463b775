"""The file tools. They run in a process of their own in the sandbox's view: standard library only."""
