"""A group's partitions, commits and words in one process and in virtual time, and its workers.

The workers are thin: what they decide, the functions of ``app_worker.handover`` decide for them.
"""
