"""What flows along the links of a prompt. Pixels are Pillow images; everything that needs a model is a stand-in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image as Picture


class UsedAsTensor:
    """What nodes do with a tensor before anything else. Plain values fail at it in Python's own words."""

    shape: tuple[int, ...]

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError

    def size(self) -> tuple[int, ...]:
        """The shape, as tensors give it."""
        return self.shape

    def movedim(self) -> None:
        """Only looked up, never called; so are those below."""

    def reshape(self) -> None:
        """As ``movedim``."""

    def repeat(self) -> None:
        """As ``movedim``."""

    def clone(self) -> None:
        """As ``movedim``."""


class Image(UsedAsTensor):
    """A batch of pictures of one size, RGB or RGBA. Its shape is batch, height, width, channels."""

    def __init__(self, pictures: list[Picture]) -> None:
        self.pictures = pictures
        first = pictures[0]
        self.shape = (len(pictures), first.height, first.width, len(first.getbands()))

    def __getitem__(self, index: Any) -> Image:
        part = Image([self.pictures[index]])
        part.shape = part.shape[1:]
        return part

    def __iter__(self) -> Iterator[Picture]:
        return iter(self.pictures)

    def __len__(self) -> int:
        return len(self.pictures)

    def __str__(self) -> str:
        return tensor_text(self.shape, self._value_at)

    def _value_at(self, *index: int) -> float:
        batch, y, x, channel = (0, *index) if len(index) == 3 else index
        return self.pictures[batch].getchannel(channel).getpixel((x, y)) / 255  # type: ignore[operator]

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.pictures[0].width

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.pictures[0].height

    def __rsub__(self, other: float) -> Image:
        """``1.0 - image`` is the inverted image; nodes only subtract from 1."""
        return Image([_inverted(picture) for picture in self.pictures])


class Mask(UsedAsTensor):
    """A batch of masks, 8 bit. Its shape is batch, height, width."""

    def __init__(self, pictures: list[Picture]) -> None:
        self.pictures = pictures
        self.shape = (len(pictures), pictures[0].height, pictures[0].width)

    def __getitem__(self, index: Any) -> Mask:
        part = Mask([self.pictures[index]])
        part.shape = part.shape[1:]
        return part

    def __iter__(self) -> Iterator[Picture]:
        return iter(self.pictures)

    def __str__(self) -> str:
        return tensor_text(self.shape, self._value_at)

    def _value_at(self, *index: int) -> float:
        batch, y, x = (0, *index) if len(index) == 2 else index
        return self.pictures[batch].getpixel((x, y)) / 255  # type: ignore[operator]

    def __rsub__(self, other: float) -> Mask:
        """``1.0 - mask`` is the inverted mask."""
        return Mask([_inverted(picture) for picture in self.pictures])


@dataclass(frozen=True)
class Latent:
    """A latent by its size, and the picture that it decodes to."""

    width: int
    height: int
    batch: int = 1
    frames: int | None = None
    channels: int = 4
    scale: int = 8
    """Pixels per latent cell."""
    image: Image | None = field(default=None, compare=False)
    """The picture where it is known, because it was encoded from it."""
    seed: int = 0
    """What the picture is made of where it is not known."""

    def __getitem__(self, key: str) -> Latent:
        if key != "samples":
            raise KeyError(key)
        return self

    def copy(self) -> Latent:
        """Itself: it never changes."""
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        if self.frames is None:
            return (self.batch, self.channels, self.height, self.width)
        return (self.batch, self.channels, self.frames, self.height, self.width)

    @property
    def pictures(self) -> int:
        """How many pictures it decodes to. Video latents hold four frames in one, but for the first."""
        return self.batch * (1 if self.frames is None else (self.frames - 1) * 4 + 1)

    def resized(self, width: int, height: int) -> Latent:
        """The same in another size, in cells."""
        return replace(self, width=width, height=height, image=None)


@dataclass(frozen=True)
class Sigmas:
    """Noise levels; sampling takes one step less than there are."""

    count: int

    def __len__(self) -> int:
        return self.count


@dataclass(frozen=True)
class Noise:
    """A source of noise."""

    seed: int


@dataclass(frozen=True)
class Audio:
    """Sound: that many waveforms of that length."""

    batch: int = 1
    seconds: float = 1.0

    def __getitem__(self, key: str) -> range | int:
        """``waveform``: as many as there are; ``sample_rate``."""
        parts: dict[str, range | int] = {"waveform": range(self.batch), "sample_rate": 44_100}
        return parts[key]


@dataclass(frozen=True)
class Video:
    """A moving picture."""

    image: Image
    fps: float = 24.0

    def get_dimensions(self) -> tuple[int, int]:
        """Width and height."""
        return self.image.width, self.image.height


class Stub:
    """Stands for what only a model could be or make: MODEL, CLIP, VAE, CONDITIONING and all other types."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __repr__(self) -> str:
        return f"<{self.kind} object at {id(self):#014x}>"


def tensor_text(shape: tuple[int, ...], value_at: Any) -> str:
    """A tensor in the words of PyTorch: four digits, and only the edges of a large one."""
    edge = 3
    count = 1
    for length in shape:
        count *= length
    shortened = count > 1000
    kept = [
        [*range(edge), None, *range(length - edge, length)] if shortened and length > 2 * edge else [*range(length)]
        for length in shape
    ]
    values = [value_at(*index) for index in _indices(kept)]
    whole = all(value == int(value) for value in values)
    remaining = iter(f"{value:.0f}." if whole else f"{value:.4f}" for value in values)

    def text(axis: int) -> str:
        last = axis == len(shape) - 1
        parts = ["..." if index is None else next(remaining) if last else text(axis + 1) for index in kept[axis]]
        gap = "\n" * (len(shape) - axis - 1) + " " * (len("tensor(") + axis + 1)
        return "[" + (", " if last else "," + gap).join(parts) + "]"

    return f"tensor({text(0)})"


def _indices(kept: list[list[int | None]]) -> Iterator[tuple[int, ...]]:
    if not kept:
        yield ()
        return
    for index in kept[0]:
        if index is not None:
            for rest in _indices(kept[1:]):
                yield (index, *rest)


def _inverted(picture: Picture) -> Picture:
    return picture.point(lambda value: 255 - value)
