"""Workers rolled one by one as their receiver saw it: handing over, draining, a careful one."""
