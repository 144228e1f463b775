"""The file tools. They run in a process of their own inside the sandbox's view, so they use the standard library only."""
