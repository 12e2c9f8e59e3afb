"""How fast this machine trains and rolls out, as shares of what it can do."""

from unspool.speed.rollouts import time_rollout
from unspool.speed.training import WARM, time_training

__all__ = ["WARM", "time_rollout", "time_training"]
