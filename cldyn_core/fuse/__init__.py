"""`cldyn fuse`: folders, videos and bags of pairs to fused ones; reading, fusing and writing at once."""

from cldyn_core.fuse.command import add_fuse_command

__all__ = ["add_fuse_command"]
