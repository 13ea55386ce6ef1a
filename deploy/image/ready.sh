#!/bin/sh
# The readiness probe: each worker has touched its file in the last 20 s (it does so every 5 s while it is ready).
# A rebalance does not change that, so that one rebalance cannot stop the rollout of a whole fleet.
fresh=$(find "$POD_DIRECTORY" -maxdepth 1 -name 'ready.*' -newermt '20 seconds ago' | wc -l)
[ "$fresh" -ge "$POD_PROCESSES" ] || exec python -m deploy.image.not_ready
