"""Effect handlers: unroll in time, focus on an agent, play policies, enumerate."""

from vsg_ppl.handlers.at_time import at_time
from vsg_ppl.handlers.enumerate import enumerate_sites
from vsg_ppl.handlers.focus import focus
from vsg_ppl.handlers.play import play

__all__ = ["at_time", "enumerate_sites", "focus", "play"]
