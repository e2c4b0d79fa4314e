# SPDX-License-Identifier: Apache-2.0
"""Which of MediaPipe's 478 face points is what, and with what confidence each is detected.

Left and right are the person's. Indices are the face mesh's with irises: 468 skin points, then 2 x 5 iris points.
"""

from __future__ import annotations

import numpy as np

COUNT = 478

# Mouth: the red border outside, the slit inside, both clockwise in the image from the corner at the person's right.
OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
MIDDLE_LIPS = (
    72,
    73,
    74,
    184,
    302,
    303,
    304,
    408,
    15,
    16,
    85,
    86,
    179,
    180,
    89,
    90,
    315,
    316,
    403,
    404,
    319,
    320,
    11,
    12,
    38,
    41,
    42,
    183,
    268,
    271,
    272,
    407,
    62,
    76,
    77,
    96,
    292,
    306,
    307,
    325,
)
RIGHT_LIDS = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_LIDS = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_BROW = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107)
LEFT_BROW = (276, 283, 282, 295, 285, 300, 293, 334, 296, 336)
RIGHT_IRIS = (468, 469, 470, 471, 472)
LEFT_IRIS = (473, 474, 475, 476, 477)
OVAL = (
    10,
    338,
    297,
    332,
    284,
    251,
    389,
    356,
    454,
    323,
    361,
    288,
    397,
    365,
    379,
    378,
    400,
    377,
    152,
    148,
    176,
    149,
    150,
    136,
    172,
    58,
    132,
    93,
    234,
    127,
    162,
    21,
    54,
    103,
    67,
    109,
)
# Second row inside the oval: it still slides a little along the jaw when the head turns.
NEAR_OVAL = (
    177,
    215,
    138,
    135,
    169,
    170,
    140,
    171,
    175,
    396,
    369,
    395,
    394,
    364,
    367,
    435,
    401,
    366,
    447,
    345,
    372,
    383,
    368,
    264,
    34,
    139,
    143,
    156,
    227,
    116,
    137,
    147,
    213,
    192,
    433,
    416,
    376,
)
# Bone more than muscle: canthi, bridge and tip of the nose, forehead, under the nose, cheekbones.
RIGID = (
    33,
    133,
    362,
    263,
    168,
    6,
    197,
    195,
    5,
    4,
    1,
    19,
    94,
    2,
    98,
    327,
    8,
    9,
    151,
    193,
    417,
    122,
    351,
    188,
    412,
    174,
    399,
    50,
    280,
    117,
    346,
    118,
    347,
    101,
    330,
    226,
    446,
)
# A detector draws every nose as long as the usual one, so its tip misleads both shape and yaw.
NOSE_TIP = (1, 2, 4, 5, 19, 44, 45, 94, 98, 125, 141, 195, 274, 275, 327, 354, 370)
# (upper, lower) pairs whose distance is the opening of an eye or of the mouth.
LID_PAIRS = (
    (159, 145),
    (158, 153),
    (160, 144),
    (157, 154),
    (161, 163),
    (386, 374),
    (385, 380),
    (387, 373),
    (384, 381),
    (388, 390),
)
LIP_PAIRS = ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (80, 88), (310, 318))


def landmark_confidence() -> np.ndarray:
    """The confidence in each point before anything is known of the frame: [478] weights around 1."""
    weight = np.full(COUNT, 0.7, np.float32)
    weight[list(NEAR_OVAL)] = 0.3
    weight[list(OVAL)] = 0.1
    weight[list(NOSE_TIP)] = 0.2
    weight[[*OUTER_LIPS, *INNER_LIPS]] = 1.3
    weight[[*RIGHT_LIDS, *LEFT_LIDS]] = 1.0
    weight[[*RIGHT_IRIS, *LEFT_IRIS]] = 2.0
    return weight


def telling_points() -> np.ndarray:
    """Indices (about half) that say nearly all about a frame: features whole, cheeks and chin thinned."""
    features = {
        *OUTER_LIPS,
        *INNER_LIPS,
        *RIGHT_LIDS,
        *LEFT_LIDS,
        *RIGHT_BROW,
        *LEFT_BROW,
        *RIGHT_IRIS,
        *LEFT_IRIS,
        *RIGID,
    }
    rest = [i for i in range(COUNT) if i not in features]
    return np.array(sorted(features | set(rest[::3])))
