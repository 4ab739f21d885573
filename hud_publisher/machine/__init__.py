"""The use of the machine: CPU, memory, GPUs, disk and network of this process and of its node.

`sampler` is called by the sender, in its thread. `lock` chooses the process that measures the node. `process`, `node`,
`cgroup` and `gpu` measure. May import: hud_publisher.protocol.
"""
