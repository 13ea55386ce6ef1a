"""One program for each kind of client: a pod, that is a process with several consumers."""
