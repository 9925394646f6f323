"""Draw the tokens' pictures: one family of drawings, made of code, printed to JPEG by a browser.

    .venv/bin/python scripts/imagenes.py [name ...]

Every drawing is a world of one sky, one disc and one creature with the same eyes and cheeks, in eight inks.
"""

from __future__ import annotations

import math
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from playwright.sync_api import sync_playwright

FOLDER: Final = Path(__file__).parents[1] / "services" / "tokens" / "imagenes"
SIDE: Final = 480
# The best of these that keeps a picture under MAX_BYTES.
QUALITIES: Final = (86, 82, 78, 74, 70, 64)
MAX_BYTES: Final = 25_000

TINTA, NOCHE, CREMA, CORAL = "#1b1838", "#2b2a6e", "#fdf3df", "#ff6a55"
MOSTAZA, MENTA, ROSA, CIELO = "#ffb938", "#36b99c", "#ffa3b5", "#7db7ff"


def circle(x: float, y: float, r: float, fill: str, more: str = "") -> str:
    return f'<circle cx="{x}" cy="{y}" r="{r}" fill="{fill}" {more}/>'


def oval(x: float, y: float, rx: float, ry: float, fill: str, turn: float = 0) -> str:
    return f'<ellipse cx="{x}" cy="{y}" rx="{rx}" ry="{ry}" fill="{fill}" transform="rotate({turn} {x} {y})"/>'


def path(d: str, fill: str = "none", stroke: str = "", width: float = 0, more: str = "") -> str:
    line = f'stroke="{stroke}" stroke-width="{width}" stroke-linecap="round" stroke-linejoin="round"' if stroke else ""
    return f'<path d="{d}" fill="{fill}" {line} {more}/>'


def box(x: float, y: float, w: float, h: float, r: float, fill: str, turn: float = 0) -> str:
    middle = f"{x + w / 2} {y + h / 2}"
    return (
        f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="{r}" fill="{fill}" transform="rotate({turn} {middle})"/>'
    )


def mirror(drawing: str, x: float = 240) -> str:
    """The drawing and its reflection at the vertical line through x."""
    return f'{drawing}<g transform="translate({2 * x} 0) scale(-1 1)">{drawing}</g>'


def star(x: float, y: float, r: float, fill: str) -> str:
    """A star of four points."""
    q = r * 0.16
    points = f"M{x} {y - r}Q{x + q} {y - q} {x + r} {y}Q{x + q} {y + q} {x} {y + r}"
    return path(f"{points}Q{x - q} {y + q} {x - r} {y}Q{x - q} {y - q} {x} {y - r}Z", fill)


def sky(colour: str, disc: str, seed: int, stars: str = CREMA, at: tuple[int, int, int] = (240, 215, 168)) -> str:
    """The sky, its disc with the print's dots in the shade, and stars where the creature is not."""
    chance = random.Random(seed)
    x, y, r = at
    parts = [
        f'<rect width="480" height="480" fill="{colour}"/>',
        circle(x, y, r, disc),
        f'<clipPath id="disc"><circle cx="{x}" cy="{y}" r="{r}"/></clipPath><g clip-path="url(#disc)" opacity=".32">',
    ]
    for row in range(15):
        for column in range(32):
            size = 1.1 + row * 0.33
            left = x - r + column * 11.5 + (row % 2) * 5.75
            parts.append(circle(left, y + r * 0.08 + row * 11, size, colour))
    parts.append("</g>")
    placed: list[tuple[float, float]] = []
    while len(placed) < 13:
        px, py = chance.uniform(22, 458), chance.uniform(22, 330)
        if math.hypot(px - x, py - y) < r + 16 or any(math.hypot(px - a, py - b) < 42 for a, b in placed):
            continue
        placed.append((px, py))
        parts.append(star(px, py, chance.uniform(6, 13), stars) if len(placed) % 3 else circle(px, py, 2.6, stars))
    return "".join(parts)


def hills(back: str, front: str, seed: int = 1) -> str:
    lift = random.Random(seed).uniform(-14, 14)
    return path(f"M0 {392 + lift}Q120 {340 - lift} 250 {388}T480 {372 + lift}V480H0Z", back) + path(
        f"M0 {436}Q150 {392 + lift} 300 {430}T480 {424 - lift}V480H0Z", front
    )


def face(x: float, y: float, gap: float = 34, size: float = 7.5, ink: str = TINTA, cheeks: str = CORAL) -> str:
    """What makes them one family."""
    parts = []
    for side in (-1, 1):
        parts.append(circle(x + side * gap, y, size, ink))
        parts.append(circle(x + side * gap + size * 0.34, y - size * 0.36, size * 0.32, CREMA))
        parts.append(oval(x + side * (gap + size * 1.5), y + size * 1.9, size * 1.25, size * 0.8, cheeks))
    smile = f"M{x - size * 0.95} {y + size * 1.3}q{size * 0.95} {size * 1.1} {size * 1.9} 0"
    return "".join(parts) + path(smile, stroke=ink, width=size * 0.5)


def gato() -> str:
    ear = path("M166 176L158 92Q160 82 170 88L232 140Z", NOCHE) + path("M178 160L172 112L212 144Z", CORAL)
    whiskers = path("M168 226l-44 -10M168 240l-46 4", stroke=CREMA, width=4)
    return (
        sky(TINTA, MOSTAZA, 3)
        + hills(NOCHE, "#201d4a")
        + path("M330 400Q420 380 402 300Q396 276 376 290", stroke=NOCHE, width=30)
        + path("M150 440Q140 300 240 290Q340 300 330 440Z", NOCHE)
        + path("M206 440Q204 348 240 340Q276 348 274 440Z", CREMA)
        + mirror(ear)
        + oval(240, 216, 92, 78, NOCHE)
        + mirror(whiskers)
        + oval(240, 244, 34, 24, CREMA)
        + mirror(oval(205, 208, 21, 24, MENTA) + oval(205, 208, 8, 20, TINTA) + circle(210, 199, 4, CREMA))
        + path("M231 233h18l-9 9z", CORAL, CORAL, 4)
        + path("M226 252q7 7 14 0q7 7 14 0", stroke=TINTA, width=4)
        + mirror(oval(170, 240, 11, 7, CORAL))
        + star(240, 164, 20, MOSTAZA)
        + mirror(oval(200, 432, 26, 17, NOCHE))
        + path("M120 306Q240 372 360 296", stroke=ROSA, width=9, more='stroke-dasharray="1 19"')
        + circle(240, 348, 15, CORAL)
        + circle(240, 348, 5, CREMA)
    )


def luna() -> str:
    def crater(x: float, y: float, rx: float) -> str:
        return oval(x, y, rx, rx * 0.36, "#d9cdb9") + oval(x, y + rx * 0.09, rx * 0.82, rx * 0.25, "#c3b5a4")

    earth = (
        '<clipPath id="earth"><circle cx="322" cy="150" r="74"/></clipPath>'
        + circle(322, 150, 74, CIELO)
        + '<g clip-path="url(#earth)">'
        + path("M262 96q40 -24 66 -4t-2 44q-34 8 -36 32t-44 8Z", MENTA)
        + path("M350 120q40 -14 60 20t-26 76q-40 6 -30 -30t-4 -66Z", MENTA)
        + path("M250 168q50 -14 90 4t80 -12v60h-170Z", CREMA, more='opacity=".34"')
        + "</g>"
    )
    flag = path("M128 330V236", stroke=TINTA, width=6) + path(
        "M131 238q26 -14 44 0t40 -2v42q-22 14 -40 2t-44 2Z", CORAL
    )
    return (
        sky(NOCHE, "#3d3b8c", 8, at=(322, 150, 112))
        + earth
        + face(322, 152, 24, 6)
        + path("M0 322Q110 264 214 316T480 296V480H0Z", "#efe3cc")
        + flag
        + path("M0 388Q160 322 300 372T480 362V480H0Z", CREMA)
        + crater(104, 424, 54)
        + crater(330, 404, 40)
        + crater(250, 454, 28)
        + crater(430, 446, 34)
        + star(153, 258, 11, CREMA)
    )


def ajolote() -> str:
    gill = path(
        "M168 200Q120 172 92 176M162 226Q110 220 82 236M170 250Q128 262 108 288", stroke=CORAL, width=15
    ) + path("M168 200Q120 172 92 176M162 226Q110 220 82 236M170 250Q128 262 108 288", stroke=MOSTAZA, width=4)
    return (
        sky("#14655f", MENTA, 12)
        + path("M0 410Q130 370 250 404T480 396V480H0Z", "#0f4d4b")
        + path("M300 380Q400 380 404 300Q404 268 380 276Q360 330 300 340Z", ROSA)
        + path("M168 420Q164 300 240 296Q316 300 312 420Q240 452 168 420Z", ROSA)
        + oval(240, 392, 38, 34, CREMA)
        + mirror(gill)
        + oval(240, 222, 98, 74, ROSA)
        + face(240, 216, 50, 9)
        + mirror(oval(176, 398, 30, 14, ROSA, -28))
        + circle(96, 120, 10, "#9be3d0")
        + circle(120, 84, 6, "#9be3d0")
        + circle(390, 130, 8, "#9be3d0")
        + mirror(path("M40 480Q30 420 52 372", stroke="#1c8a7c", width=12))
        + star(240, 178, 13, CREMA)
    )


def ballena() -> str:
    return (
        sky(NOCHE, ROSA, 21, at=(250, 210, 160))
        + path("M222 142Q212 74 166 96M226 142Q236 66 282 92", stroke=CREMA, width=11)
        + path(
            "M86 262Q90 140 226 138Q330 140 356 232Q370 262 402 236Q392 186 430 176Q440 206 430 222"
            "Q462 222 466 244Q440 268 414 262Q392 344 280 350Q96 356 86 262Z",
            CIELO,
        )
        + path("M92 286Q120 352 250 351Q310 348 346 326Q220 330 92 286Z", CREMA)
        + path("M128 312l7 18M160 322l5 19M262 327l1 17M292 326l3 15", stroke="#d9cdb9", width=4)
        + path("M232 300Q244 356 204 376Q184 340 198 304Z", "#5b97e8")
        + circle(142, 248, 9, TINTA)
        + circle(145, 245, 3, CREMA)
        + oval(160, 270, 13, 8, CORAL)
        + path("M104 272q18 14 34 6", stroke=TINTA, width=4.5)
        + star(262, 220, 15, CREMA)
        + star(318, 246, 9, CREMA)
        + circle(222, 190, 4, CREMA)
        + circle(296, 192, 4, CREMA)
        + path("M0 430q30 -22 60 0t60 0t60 0t60 0t60 0t60 0t60 0t60 0V480H0Z", "#4a49a0")
        + path("M-30 454q30 -22 60 0t60 0t60 0t60 0t60 0t60 0t60 0t60 0t60 0V480H-30Z", TINTA)
    )


def buho() -> str:
    eye = (
        circle(200, 200, 44, CREMA)
        + circle(200, 200, 30, MOSTAZA)
        + circle(204, 200, 16, TINTA)
        + circle(210, 193, 5, CREMA)
    )
    feathers = "".join(
        path(f"M{196 + 30 * c + 15 * (r % 2)} {286 + 24 * r}q12 18 24 0", stroke=MOSTAZA, width=5)
        for r in range(4)
        for c in range(3 - r % 2)
    )
    return (
        sky("#3a1d4d", CORAL, 5)
        + path("M140 190L136 100L200 142H280L344 100L340 190Z", "#7a3b2e")
        + oval(240, 270, 108, 140, "#7a3b2e")
        + path("M134 250Q100 330 152 392Q176 320 166 250Z", "#5c2a26")
        + path("M346 250Q380 330 328 392Q304 320 314 250Z", "#5c2a26")
        + oval(240, 320, 66, 82, "#a85a3f")
        + feathers
        + mirror(eye)
        + path("M228 222h24l-12 24z", MOSTAZA, MOSTAZA, 6)
        + mirror(oval(158, 244, 12, 8, ROSA))
        + path("M0 408Q240 384 480 412", stroke="#2a1236", width=22)
        + mirror(path("M204 392v20M216 396v18M192 394v18", stroke=MOSTAZA, width=9))
        + path("M60 404q-20 -34 -44 -30M96 402q-4 -32 14 -44", stroke="#2a1236", width=9)
        + oval(14, 370, 20, 10, MENTA, 24)
        + oval(112, 352, 20, 10, MENTA, -50)
        + oval(430, 386, 20, 10, MENTA, -30)
        + star(240, 146, 12, MOSTAZA)
    )


def cactus() -> str:
    spines = "".join(
        path(f"M{x} {y}l0 13", stroke=CREMA, width=4)
        for x, y in ((212, 190), (268, 206), (214, 292), (266, 300), (240, 330))
    )
    return (
        sky("#ff8f6b", MOSTAZA, 31, stars=CREMA)
        + path("M0 380Q60 318 130 352L176 300L250 372T480 340V480H0Z", "#d9544a")
        + path("M206 330H150Q112 330 112 290V248", stroke=MENTA, width=44)
        + path("M274 296H322Q358 296 358 260V206", stroke=MENTA, width=44)
        + box(190, 132, 100, 290, 50, MENTA)
        + path("M213 160V400M267 160V400", stroke="#239379", width=5)
        + spines
        + face(240, 240, 26, 7.5)
        + "".join(
            oval(240 + 21 * math.cos(a), 126 + 21 * math.sin(a), 16, 11, ROSA, math.degrees(a))
            for a in [k * math.pi / 3 for k in range(6)]
        )
        + circle(240, 126, 11, MOSTAZA)
        + circle(358, 186, 9, ROSA)
        + circle(112, 228, 9, ROSA)
        + path("M0 420Q140 386 290 414T480 404V480H0Z", "#8f2f45")
        + oval(86, 440, 34, 10, "#6e2038")
        + oval(404, 452, 44, 11, "#6e2038")
    )


def caracol() -> str:
    spiral = "M260 236"
    for step in range(1, 66):
        angle, radius = step * 0.3, 3 + step * 1.42
        spiral += f"L{260 + radius * math.cos(angle):.1f} {236 + radius * math.sin(angle):.1f}"
    return (
        sky("#1d2b64", "#4650b8", 40)
        + hills("#1f7f6d", "#14594f", 4)
        + path(
            "M92 404Q74 404 70 390Q92 380 100 350Q96 300 80 268Q84 226 122 226Q150 230 156 262Q160 330 196 346H372"
            "Q420 352 436 396Q424 408 404 406Z",
            MOSTAZA,
        )
        + path("M96 250Q78 214 88 186M128 240Q134 206 154 188", stroke=MOSTAZA, width=10)
        + circle(88, 182, 11, CORAL)
        + circle(156, 184, 11, CORAL)
        + circle(260, 240, 118, CORAL)
        + path(spiral, stroke=CREMA, width=10)
        + "".join(star(260 + 88 * math.cos(a), 240 + 88 * math.sin(a), 11, MOSTAZA) for a in (0.4, 1.8, 3.2, 4.6, 5.6))
        + face(116, 282, 15, 5.5, cheeks=CORAL)
        + star(260, 238, 17, CREMA)
    )


def cohete() -> str:
    return (
        sky("#1c3f8f", CIELO, 52)
        + path("M208 352Q240 470 272 352Z", CORAL)
        + path("M222 352Q240 428 258 352Z", MOSTAZA)
        + mirror(path("M176 262Q120 290 122 366Q160 338 190 336Z", CORAL))
        + path("M240 68Q322 156 306 352H174Q158 156 240 68Z", CREMA)
        + path("M240 68Q282 112 298 168H182Q198 112 240 68Z", CORAL)
        + circle(240, 232, 54, TINTA)
        + circle(240, 232, 44, "#a6d4ff")
        + face(240, 230, 19, 6)
        + box(166, 322, 148, 24, 12, MOSTAZA)
        + "".join(circle(x, 304, 4, "#d9cdb9") for x in (190, 215, 240, 265, 290))
        + "".join(
            circle(x, y, r, CREMA)
            for x, y, r in (
                (40, 460, 50),
                (116, 476, 54),
                (208, 484, 46),
                (290, 482, 52),
                (372, 474, 58),
                (452, 462, 52),
            )
        )
    )


def faro() -> str:
    return (
        sky("#16324f", "#28557f", 61, at=(240, 190, 170))
        + path("M240 138L-20 52V200Z", MOSTAZA, more='opacity=".55"')
        + path("M240 138L500 60V214Z", MOSTAZA, more='opacity=".55"')
        + path("M196 176H284L306 410H174Z", CREMA)
        + path("M193 212H287L291 252H189ZM185 296H295L299 338H181Z", CORAL)
        + box(182, 162, 116, 18, 9, TINTA)
        + box(204, 112, 72, 52, 8, MOSTAZA)
        + path("M196 116Q240 54 284 116Z", CORAL)
        + circle(240, 78, 8, MOSTAZA)
        + circle(226, 138, 5, TINTA)
        + circle(254, 138, 5, TINTA)
        + path("M233 147q7 7 14 0", stroke=TINTA, width=3.5)
        + path("M224 410V378Q240 356 256 378V410Z", TINTA)
        + circle(240, 272, 9, TINTA)
        + path("M108 424Q150 372 240 392T384 424L420 480H60Z", "#4a3a5e")
        + path("M0 438q30 -24 60 0t60 0t60 0t60 0t60 0t60 0t60 0t60 0V480H0Z", MENTA)
        + path("M-30 460q30 -22 60 0t60 0t60 0t60 0t60 0t60 0t60 0t60 0t60 0V480H-30Z", "#1d7d74")
    )


def medusa() -> str:
    arms = "".join(
        path(f"M{x} 256q{-18 * s} 34 0 66t0 66", stroke=colour, width=13)
        for x, s, colour in ((176, 1, ROSA), (212, -1, "#d98bff"), (240, 1, ROSA), (270, -1, "#d98bff"), (304, 1, ROSA))
    )
    return (
        sky("#241a5c", "#5a3fb0", 70)
        + arms
        + path(
            "M116 254Q116 104 240 104Q364 104 364 254Q346 278 323 256Q302 278 281 256Q260 278 240 256Q219 278 198 256"
            "Q178 278 157 256Q136 278 116 254Z",
            ROSA,
        )
        + path("M146 214Q152 140 212 126", stroke=CREMA, width=11)
        + face(240, 208, 38, 8.5)
        + oval(296, 148, 15, 10, "#ffc2cd", 30)
        + oval(268, 130, 8, 6, "#ffc2cd", 30)
        + "".join(
            circle(x, y, r, "#8f7be0") for x, y, r in ((70, 380, 12), (98, 340, 7), (412, 390, 14), (388, 350, 6))
        )
        + path("M0 448Q120 420 240 446T480 436V480H0Z", "#17103f")
        + mirror(path("M60 480Q44 440 66 410M86 480Q84 452 100 436", stroke=MENTA, width=9))
    )


def tetera() -> str:
    return (
        sky("#4b1f4f", "#8a3a74", 83)
        + path("M70 300Q60 250 240 214", stroke=MOSTAZA, width=10)
        + path("M332 232Q404 196 398 150Q426 150 436 166Q430 252 348 312Z", "#35a58c")
        + path("M150 232Q82 214 92 276Q102 326 166 318", stroke="#35a58c", width=20)
        + path("M132 262Q132 178 240 178Q348 178 348 262Q348 352 240 356Q132 352 132 262Z", MENTA)
        + path("M176 190Q188 148 240 148Q292 148 304 190Q240 204 176 190Z", "#35a58c")
        + circle(240, 138, 14, MOSTAZA)
        + face(240, 258, 38, 9)
        + star(300, 222, 11, CREMA)
        + star(176, 316, 9, CREMA)
        + star(312, 312, 8, CREMA)
        + path("M410 132q-14 -22 2 -38t-4 -38M432 140q22 -16 8 -40", stroke=CREMA, width=8)
        + path("M70 300Q84 352 240 366T430 330Q466 306 380 260", stroke=MOSTAZA, width=10)
        + circle(92, 330, 17, CORAL)
        + circle(92, 330, 7, CREMA)
        + path("M0 440Q130 404 260 436T480 420V480H0Z", "#2c0f33")
    )


def volcan() -> str:
    return (
        sky("#25174a", "#ff8a5c", 92, at=(240, 190, 160))
        + circle(196, 90, 34, CREMA)
        + circle(240, 70, 42, CREMA)
        + circle(288, 92, 34, CREMA)
        + circle(240, 112, 34, CREMA)
        + path("M226 176Q222 142 240 118Q258 142 254 176Z", MOSTAZA)
        + path("M60 420Q150 380 184 184Q240 204 296 184Q330 380 420 420Z", "#5a3d8f")
        + path(
            "M184 184Q240 204 296 184Q300 214 306 240Q290 262 276 238Q262 222 256 262Q246 296 232 262Q226 224 208 240"
            "Q190 262 176 236Q182 208 184 184Z",
            CORAL,
        )
        + oval(240, 184, 56, 13, MOSTAZA)
        + face(240, 318, 40, 9, cheeks=ROSA)
        + path("M0 400Q90 360 190 404T480 384V480H0Z", "#2f7a63")
        + path("M0 446Q150 410 300 440T480 430V480H0Z", "#1c5449")
        + "".join(
            path(f"M{x} {y}l-16 34h32z", "#123d37", "#123d37", 6)
            for x, y in ((64, 388), (104, 400), (392, 384), (430, 392))
        )
        + star(150, 140, 9, MOSTAZA)
        + star(334, 150, 9, MOSTAZA)
    )


def zorro() -> str:
    ear = path("M150 190L136 92Q140 82 150 88L226 146Z", CORAL) + path("M162 168L154 116L200 152Z", TINTA)
    return (
        sky("#0f4a4f", "#f4d9a4", 101)
        + hills("#14635a", "#0c3a3d", 2)
        + path("M316 420Q440 430 430 316Q424 282 396 300Q360 330 312 360Z", CORAL)
        + path("M430 316Q424 282 396 300Q384 310 376 316Q398 344 428 352Q432 334 430 316Z", CREMA)
        + path("M158 444Q148 312 240 304Q332 312 322 444Z", CORAL)
        + path("M204 444Q200 356 240 340Q280 356 276 444Z", CREMA)
        + mirror(ear)
        + path("M132 206Q146 140 240 138Q334 140 348 206Q330 262 240 296Q150 262 132 206Z", CORAL)
        + mirror(path("M134 212Q168 196 196 226Q216 262 240 296Q152 264 134 212Z", CREMA))
        + face(240, 208, 42, 8.5, cheeks=ROSA)
        + oval(240, 284, 15, 12, TINTA)
        + oval(236, 280, 4, 3, CREMA)
        + mirror(oval(200, 436, 24, 15, TINTA))
        + star(240, 164, 13, CREMA)
    )


def flower(x: float, y: float, colour: str) -> str:
    angles = [k * 2 * math.pi / 5 for k in range(5)]
    petals = "".join(circle(x + 20 * math.cos(a), y + 20 * math.sin(a), 15, colour) for a in angles)
    return path(f"M{x} {y}V480", stroke="#1f7f6d", width=9) + petals + circle(x, y, 12, MOSTAZA)


def abeja() -> str:
    wing = oval(166, 176, 62, 40, "#dff1ff", 32) + oval(178, 184, 40, 22, "#bfe0ff", 32)
    return (
        sky("#3d7fd6", "#a9d6ff", 113)
        + hills("#2f9d7f", "#1c6e5c", 9)
        + mirror(wing)
        + '<clipPath id="bee"><ellipse cx="240" cy="268" rx="112" ry="92"/></clipPath>'
        + oval(240, 268, 112, 92, MOSTAZA)
        + '<g clip-path="url(#bee)">'
        + box(286, 160, 30, 220, 4, TINTA)
        + box(338, 160, 30, 220, 4, TINTA)
        + "</g>"
        + path("M348 262l26 6l-26 14z", TINTA, TINTA, 5)
        + path("M190 190Q176 142 140 138M226 180Q222 134 196 118", stroke=TINTA, width=7)
        + circle(138, 138, 9, CORAL)
        + circle(194, 116, 9, CORAL)
        + face(206, 262, 40, 9.5)
        + flower(70, 380, CORAL)
        + flower(420, 392, ROSA)
        + flower(132, 424, CREMA)
        + path("M380 268q44 -8 42 -48t36 -42", stroke=CREMA, width=5, more='stroke-dasharray="2 15"')
    )


DRAWINGS: Final[dict[str, Callable[[], str]]] = {
    drawing.__name__: drawing
    for drawing in (
        gato, luna, ajolote, ballena, buho, cactus, caracol, cohete, faro, medusa, tetera, volcan, zorro, abeja,
    )
}  # fmt: skip


def main(names: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("ZOCO_CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": SIDE, "height": SIDE})
        for name in names or DRAWINGS:
            drawing = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 480 480">{DRAWINGS[name]()}</svg>'
            page.set_content(f"<style>body{{margin:0}}svg{{display:block;width:{SIDE}px}}</style>{drawing}")
            file = FOLDER / f"{name}.jpg"
            prints = (page.screenshot(type="jpeg", quality=quality) for quality in QUALITIES)
            file.write_bytes(next(raw for raw in prints if len(raw) <= MAX_BYTES))
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
