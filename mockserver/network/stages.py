from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    pass


@dataclass(frozen=True)
class Latency(Stage):
    delay: float
    jitter: float = 0
    distribution: str = "uniform"


@dataclass(frozen=True)
class Bandwidth(Stage):
    bytes_per_second: float


@dataclass(frozen=True)
class Slicer(Stage):
    size: int
    variation: int = 0
    delay: float = 0


@dataclass(frozen=True)
class Stall(Stage):
    loss: float


class Hold(Stage):
    pass


class Silence(Stage):
    pass


class StopReading(Stage):
    pass


@dataclass(frozen=True)
class Cut(Stage):
    after: int
    ending: str = "reset"


@dataclass(frozen=True)
class SlowClose(Stage):
    delay: float
