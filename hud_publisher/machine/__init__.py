"""The use of the machine: CPU, memory, GPUs, disk and network of this process and of its node.

`sampler` decides what is due, `lock` who measures the node; `process`, `node`, `cgroup` and `gpu` measure. Everything
runs in the sender's thread. May import: hud_publisher.protocol.
"""
