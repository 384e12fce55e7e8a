# ruff: noqa: RUF001 - letters of many scripts
"""Guess the older encoding of bytes by the letters that languages write most; ties go to the first of the list."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_MARKS = "“”„‘’‚–—…«»‹›€£§©®°·•™½¼¾²³×´¨¡¿\u00a0\u00ad"
_WEST = {
    "de": "äöüßÄÖÜ", "fr": "éèêëàâçîïôûùœæÉÀÊÇÈÔÎŒ", "es": "áéíóúñüÁÉÍÓÚÑªº", "pt": "ãõáéíóúâêôçàÃÕÁÉÍÓÚÂÊÔÇÀü",
    "nordic": "åäöøæéÅÄÖØÆ", "it": "àèéìòùÀÈÉÌÒÙ", "is": "ðþæöáéíóúýÐÞÆÖÁÉÍÓÚÝ",
}  # fmt: skip
_EAST = {
    "pl": "ąćęłńóśźżĄĆĘŁŃÓŚŹŻ", "cs": "áčďéěíňóřšťúůýžÁČĎÉĚÍŇÓŘŠŤÚŮÝŽ", "hu": "áéíóöőúüűÁÉÍÓÖŐÚÜŰ",
    "sk": "áäčďéíĺľňóôŕšťúýžÁÄČĎÉÍĹĽŇÓÔŔŠŤÚÝŽ", "hr": "čćđšžČĆĐŠŽ", "ro": "ăâîşţĂÂÎŞŢ",
}  # fmt: skip
_RUSSIAN, _RUSSIAN_RARE = "оеаинтсрвлкмдпу", "ябьыгзчйхжшюцщэфъёіїєґ"
_GREEK, _GREEK_RARE = "αοιετσνηυρπκμλςωάίόέ", "γδθχβφξζψήύώϊϋΐΰ"
_HEBREW, _HEBREW_RARE = "יוהלאתרמבש", "גדזחטכךםנןסעפףצץק"
_ARABIC, _ARABIC_RARE = "اليمنوترهبة", "ثجحخدذزسشصضطظعغفقكىءآأؤإئپچژگک"
_THAI, _THAI_RARE = "านรอกเงมยลวดทสต่้ีั", "".join(map(chr, range(0x0E01, 0x0E5C)))
_KANA = "".join(map(chr, (*range(0x3041, 0x3097), *range(0x30A1, 0x30FB)))) + "、。ー"
_CHINESE = (
    "的一是不了在人有我他这這个個们們中来來上大为為和国國地到以说說时時要就出会會可也你对對生能而子那得于着下自之年过過发發后後作"
    "里裡用道行所然家种種事成方多经經么麼去法学學如都同现現当當没沒动動面起看定天分还還进進好小部其些主样樣理心她本前开開但因只从從"
    "想实實日军軍者意无無力它与與长長把机機十民第公此已工使情明性知全三又关關点點正业業外将將两兩高间間由问問很最重并物手应應战戰向"
    "头頭文体體政美相见見被利什二等产產或新己制身果加西斯月话話合回特代内內信表化老给給世位次度门門任常先海通教儿兒原东東声聲提立及比员員解水名真"
)
_HANGUL = "이다는을의에가고하지은로를도한사리서나기자어대인그아시수해라으것여보정부들과있년일만게안전모"


class _Guess(NamedTuple):
    codec: str
    often: str
    """Characters that count fully."""
    script: tuple[tuple[int, int], ...] = ()
    """Ranges of characters that count for less."""
    common: str = ""
    """A smaller encoding: of the script only what it has counts."""
    rare: str = ""
    """Further letters of the language."""


_GUESSES = (
    *(_Guess("cp1252", letters) for letters in _WEST.values()),
    *(_Guess("cp1250", letters) for letters in _EAST.values()),
    _Guess("cp1254", "çğıöşüâîûÇĞİÖŞÜ"),
    _Guess("cp1257", "āčēģīķļņšūžĀČĒĢĪĶĻŅŠŪŽ"), _Guess("cp1257", "ąčęėįšųūžĄČĘĖĮŠŲŪŽ"),
    *(_Guess("iso8859-2", letters) for letters in _EAST.values()),
    *(_Guess(codec, _RUSSIAN + _RUSSIAN.upper(), rare=_RUSSIAN_RARE)
      for codec in ("cp1251", "koi8-r", "cp866", "mac-cyrillic", "iso8859-5")),
    _Guess("cp1253", _GREEK + _GREEK.upper(), rare=_GREEK_RARE),
    _Guess("iso8859-6", _ARABIC, rare=_ARABIC_RARE),
    _Guess("cp1255", _HEBREW, rare=_HEBREW_RARE), _Guess("cp1256", _ARABIC, rare=_ARABIC_RARE),
    _Guess("cp874", _THAI, rare=_THAI_RARE),
    _Guess("cp932", _KANA, ((0x30A1, 0x30FA), (0x4E00, 0x9FFF), (0xFF01, 0xFF5E))),
    _Guess("euc_jp", _KANA, ((0x30A1, 0x30FA), (0x4E00, 0x9FFF), (0xFF01, 0xFF5E))),
    _Guess("gb18030", _CHINESE + "，。、！？：；“”", ((0x4E00, 0x9FFF),), "gb2312"),
    _Guess("big5", _CHINESE + "，。、！？：；「」", ((0x4E00, 0x9FFF),)),
    _Guess("cp949", _HANGUL, ((0xAC00, 0xD7A3),), "euc_kr"),
    *(_Guess(codec, letters) for codec in ("mac-roman", "cp850", "cp437") for letters in _WEST.values()),
    _Guess("cp852", _EAST["pl"]), _Guess("cp852", _EAST["cs"]), _Guess("cp852", _EAST["hu"]),
)  # fmt: skip
_ENOUGH = 0.5
_OLD, _SELDOM = ("mac-roman", "cp850", "cp437", "cp852"), 0.04
"""Encodings of systems before 1995, and how much better than the others they must be."""
_LESS, _CAPITAL, _MARK = 0.6, 0.7, 0.65


def best_of(sample: bytes) -> str:
    """Return the name of the encoding that makes most of the bytes beyond ASCII letters of one language, or ""."""
    best, name = -np.inf, ""
    for guess in _GUESSES:
        value = _score(sample, guess) - (_SELDOM if guess.codec in _OLD else 0)
        if value > best + 1e-9:
            best, name = value, guess.codec
    if best >= _ENOUGH:
        return name
    from charset_normalizer import from_bytes

    match = from_bytes(sample).best()
    if match is not None and match.encoding != "ascii":
        return str(match.encoding)
    return name if best > 0 else ""


def _score(sample: bytes, guess: _Guess) -> float:
    """Return the mean worth of what the bytes beyond ASCII become: 1 a usual letter, below 0 what no text has."""
    text = sample.decode(guess.codec, "replace")
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.int64)
    beyond = points >= 0x80
    distinct, places = np.unique(points, return_inverse=True)
    values = np.array([_worth(point, guess) for point in distinct.tolist()])[places]
    if not beyond.any():
        return -1.0
    lower, upper = (np.array([test(c) for c in text]) for test in (str.islower, str.isupper))
    after_lower = np.concatenate([[False], lower[:-1]])
    values = np.where(beyond & upper & after_lower, -1.0, values)  # a capital inside a word
    letter = lower | upper | np.array([c.isalpha() for c in text])
    inside = np.concatenate([[False], letter[:-1]]) & np.concatenate([letter[1:], [False]])
    other = (points >= 0x300) & (points < 0x2000)
    ascii_letter = letter & ~beyond
    beside = np.concatenate([[False], ascii_letter[:-1]]) | np.concatenate([ascii_letter[1:], [False]])
    values = np.where(other & beside, -1.0, values)  # two scripts in a word
    digit = (points >= 0x30) & (points <= 0x39)
    values = np.where(letter & beyond & np.append(digit[1:], False), -1.0, values)  # as in \u00fa25 for \u00a325
    symbol = ~letter & beyond & ~np.isin(points, [0xA0, 0xAD, 0x2019])
    values = np.where(symbol & inside, -1.0, values)
    return float(values[beyond].mean())


def _worth(point: int, guess: _Guess) -> float:
    """Return the worth of a character beyond ASCII in a language."""
    c = chr(point)
    if c in guess.often:
        return _CAPITAL if c.isupper() else 1.0
    if c in _MARKS:
        return _MARK
    if c == "\ufffd":
        return -3.0
    if c.lower() in guess.rare:
        return _LESS
    if point < 0xA0 or 0xE000 <= point < 0xF900:  # control characters, private use
        return -2.0
    if any(low <= point <= high for low, high in guess.script):
        return _LESS if not guess.common or _has(guess.common, point) else 0.1
    return -0.3


def _has(codec: str, point: int) -> bool:
    try:
        return chr(point).encode(codec)[0] < 0xD8
    except UnicodeEncodeError:
        return False
