"""The demonstration: real node, real replayer, real DDS; what was published is recorded and examined afterwards."""
