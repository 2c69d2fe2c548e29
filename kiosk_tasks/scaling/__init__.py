"""How many workers a queue wants: pure numbers, used by metrics, `kiosk up --autoscale`, simulator.

pace.py      how long jobs take, learned from those that are done
law.py       how many workers that makes
damping.py   up at once, down slowly
"""

from kiosk_tasks.scaling.damping import Damper
from kiosk_tasks.scaling.law import Policy, wanted_workers
from kiosk_tasks.scaling.pace import Pace

__all__ = ["Damper", "Pace", "Policy", "wanted_workers"]
