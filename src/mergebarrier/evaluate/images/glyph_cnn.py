"""A convolutional encoder small enough to be trained, attacked and cured in seconds, in place of a pre-trained one.

Three strided convolutions and two linear maps turn a picture of 28 x 28 into 64 features; it is the body of the small
bench of image tasks and has 381,984 parameters.

    x -> [conv 3x3 stride 2, GroupNorm(8), GELU] for 32, 64, 96 channels -> Linear 192, GELU -> Linear 64, no bias

Source: ours.  Used as CLIP's vision tower is: its features are compared with frozen unit vectors.
"""

from typing import TypedDict

from torch import Tensor, nn

MODEL_TYPE = "mergebarrier_glyph_cnn"
GROUPS = 8


class GlyphConfig(TypedDict):
    """The config.json of such a network."""

    model_type: str
    architectures: list[str]
    num_channels: int
    image_size: int
    widths: list[int]
    hidden_size: int
    projection_dim: int


CONFIG: GlyphConfig = {
    "model_type": MODEL_TYPE,
    "architectures": ["GlyphCnn"],
    "num_channels": 1,
    "image_size": 28,
    "widths": [32, 64, 96],
    "hidden_size": 192,
    "projection_dim": 64,
}


class GlyphCnn(nn.Module):
    """The network; arguments are those of ``CONFIG``."""

    def __init__(
        self, *, num_channels: int, image_size: int, widths: tuple[int, ...], hidden_size: int, projection_dim: int
    ) -> None:
        """Build the layers with whatever start torch gives them; a folder's weights replace it."""
        super().__init__()
        layers: list[nn.Module] = []
        last, side = num_channels, image_size
        for width in widths:
            layers += [nn.Conv2d(last, width, 3, stride=2, padding=1), nn.GroupNorm(GROUPS, width), nn.GELU()]
            last, side = width, (side + 1) // 2
        self.stem = nn.Sequential(*layers)
        self.hidden = nn.Linear(last * side * side, hidden_size)
        self.gelu = nn.GELU()
        self.projection = nn.Linear(hidden_size, projection_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return features: Float[Tensor, "n c h w"] to Float[Tensor, "n features"]."""
        features: Tensor = self.projection(self.gelu(self.hidden(self.stem(x).flatten(1))))
        return features
