"""What can happen next, as values: a schedule is a list of these, and a failing example is a short list of them.

Numbers pick among what is there at that moment (modulo how many there are), so every list of steps is a schedule and shrinks
well. A step for which there is nothing there does nothing.
"""

from simulation.hostile.steps_application import Hold, Join, Leave, MoveCursor, Publish
from simulation.hostile.steps_network import Answer, Block, Choke, Copy, Cut, Down, Http, Stall, StallHttp, Swallow, Trickle, Up
from simulation.hostile.steps_server import CheckToken, Crash, GoAway, LoseHistory, Restart, Store, StoreFails, TooSlow
from simulation.hostile.steps_time import Calm, CalmUntil, NextAlarm, StepClock, UntilOpening, Wait

Step = (
    Publish
    | MoveCursor
    | Hold
    | Leave
    | Join
    | Up
    | Down
    | Cut
    | Answer
    | Http
    | Stall
    | StallHttp
    | Copy
    | Block
    | Choke
    | Swallow
    | Trickle
    | Store
    | StoreFails
    | Crash
    | Restart
    | LoseHistory
    | TooSlow
    | GoAway
    | CheckToken
    | Wait
    | NextAlarm
    | UntilOpening
    | Calm
    | CalmUntil
    | StepClock
)

__all__ = [
    "Answer",
    "Block",
    "Calm",
    "CalmUntil",
    "CheckToken",
    "Choke",
    "Copy",
    "Crash",
    "Cut",
    "Down",
    "GoAway",
    "Hold",
    "Http",
    "Join",
    "Leave",
    "LoseHistory",
    "MoveCursor",
    "NextAlarm",
    "Publish",
    "Restart",
    "Stall",
    "StallHttp",
    "Step",
    "StepClock",
    "Store",
    "StoreFails",
    "Swallow",
    "TooSlow",
    "Trickle",
    "UntilOpening",
    "Up",
    "Wait",
]
