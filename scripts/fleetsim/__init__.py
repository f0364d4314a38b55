"""A fleet in one process: every node runs dfedge's own Swarm, under a clock that jumps from event to event.

It knows links, latency and queues, but no loss, no CPU and no TCP: it ranks policies and shows that a swarm completes;
the seconds of a real network are some hundredths longer.
"""
