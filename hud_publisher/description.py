"""`Description`: the sections of a run's configuration that the program gives, such as its hyperparameters.

Training threads change it, and the sender reads it: each change replaces the whole mapping, so neither needs a lock.
Called by publisher and sender.describer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hud_publisher.protocol.configuration import readable
from hud_publisher.protocol.names import clean_name
from hud_publisher.protocol.values import Json


class Description:
    """Sections of a run's configuration, as plain values.

    Attributes:
        sections: name → values; never changed in place.
    """

    def __init__(self, sections: Mapping[str, Json] | None = None) -> None:
        self.sections: dict[str, Json] = dict(sections or {})

    def configure(self, values: Mapping[Any, Any], section: str = "config") -> None:
        """Add values to a section; a value of a name that it has already replaces the earlier one.

        Costs a copy of at most configuration.MAX_VALUES values.

        Raises:
            TypeError: `values` is not a mapping.
        """
        if not isinstance(values, Mapping):
            raise TypeError(f"expected a mapping of names to values, got {type(values).__name__}")
        added, name = readable(values), clean_name(section)
        known = self.sections.get(name)
        both = {**known, **added} if isinstance(known, dict) and isinstance(added, dict) else added
        self.sections = {**self.sections, name: both}
