"""What runs in a pod: one container, supervisord in it, and the worker processes below that.

Of this folder the image has these modules, which need nothing but supervisord.
"""
