"""Hashes of texts: the same numbers as the systems whose tables and data we read."""

import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from features.oracles_values import murmur
from hypothesis import given, settings
from hypothesis import strategies as st

from tzmmoe.features import hashing, native
from tzmmoe.features.hashing import BLOCK, FUNCTIONS, hash_texts
from tzmmoe.features.longtexts import FEW, PART, SHORT
from tzmmoe.features.native import LONG, PROBE, compiled

# Of TorchEasyRec 1.3.16 (its tests, and pyfg), modulo 100.
TORCHEASYREC_MURMUR = {
    "abc": 33,
    "efg": 44,
    "hij": 66,
    "xyz": 13,
    "0": 26,
    "1": 95,
    "2": 70,
    "3": 13,
    "4": 56,
    "ua_ia": 37,
    "ua_ib": 90,
    "ub_ia": 5,
    "ub_ib": 97,
}
TORCHEASYREC_FARM = {"1": 49, "2": 59, "3": 21}
# fingerprint64 of pyfarmhash 0.5.1, which wraps Google's C++. A text for each branch by length:
# 0, 1 to 3, 4 to 7, 8 to 16, 17 to 32, 33 to 64, and longer by blocks of 64.
PYFARMHASH = {
    "": 11160318154034397263,
    "a": 12917804110809363939,
    "12": 12507372493458391888,
    "abc": 2640714258260161385,
    "abcd": 1897425971756105985,
    "1234567": 7403371938570208423,
    "12345678": 3430003927990384362,
    "0123456789abcdef": 6105018409752412263,
    "0123456789abcdef0": 7920484519069722889,
    "The quick brown fox jumps over t": 13139644296358924898,
    "The quick brown fox jumps over the": 9809150645135378877,
    "x" * 63: 3985643400710983581,
    "x" * 64: 6916188127298655160,
    "x" * 65: 4935023790501551929,
    "y" * 128: 14037998315750692670,
    "y" * 129: 1914834069162296259,
    "z" * 200: 8728890208429024092,
    "0123456789" * 100: 15486566875804449801,
    "naïve café 東京 🙂": 7788783860120783198,
    "é" * 40: 9929455074797365145,
    "a" * 577: 5193189464418441183,
    "ab" * 320: 5624606974147180070,
    "naïve 東京" * 1000: 15229352513997993650,
    "x1y2z" * 52_442: 11874526037611246361,
    "0123456789" * 100_000: 18444510776969138365,
}
# By any size, also far above and below LONG.
SIZES = st.lists(st.integers(0, 5 * LONG) | st.integers(LONG - 9, LONG + 9), max_size=6)
TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=80), max_size=20)


@pytest.fixture(params=["compiled", "own"])
def code(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Long texts are hashed by compiled code, if there is any, or by the code of this package."""
    if request.param == "own":
        monkeypatch.setattr(hashing, "compiled", lambda function: None)
    return request.param


@pytest.mark.parametrize(("text", "bucket"), TORCHEASYREC_MURMUR.items())
def test_murmur_gives_the_buckets_of_torcheasyrec(text: str, bucket: int) -> None:
    assert hash_texts(pa.array([text]), "MURMUR_HASH")[0] % 100 == bucket
    assert murmur(text) % 100 == bucket, "the oracle itself"


@pytest.mark.parametrize(("text", "bucket"), TORCHEASYREC_FARM.items())
def test_farm_gives_the_buckets_of_tensorflow(text: str, bucket: int) -> None:
    assert hash_texts(pa.array([text]), "FARM_HASH")[0] % 100 == bucket


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_farm_equals_the_library_of_google(kind: pa.DataType, code: str) -> None:
    """Short and long texts together, so that each is hashed among others."""
    texts = pa.array([*PYFARMHASH, *reversed(PYFARMHASH)], kind)
    expected = [*PYFARMHASH.values(), *reversed(PYFARMHASH.values())]
    assert hash_texts(texts, "FARM_HASH").tolist() == expected


@settings(deadline=None, max_examples=200)
@given(TEXTS, st.sampled_from([pa.string(), pa.large_string()]), st.integers(0, 5))
def test_murmur_equals_the_hash_of_each_text_byte_by_byte(
    texts: list[str], kind: pa.DataType, begin: int
) -> None:
    column = pa.array(texts, kind).slice(begin)
    assert hash_texts(column, "MURMUR_HASH").tolist() == [murmur(text) for text in texts[begin:]]


def test_murmur_of_every_length_equals_the_hash_byte_by_byte() -> None:
    texts = ["".join(chr(33 + (7 * place) % 90) for place in range(size)) for size in range(300)]
    assert hash_texts(pa.array(texts), "MURMUR_HASH").tolist() == [murmur(text) for text in texts]


def test_murmur_of_long_texts_equals_the_hash_byte_by_byte(code: str) -> None:
    texts = ["ab1" * 40, "é2" * 700, "0123456" * (8 * 8 * PART // 7 + 3)]
    for some in (texts, texts[2:]):
        assert hash_texts(pa.array(some), "MURMUR_HASH").tolist() == [murmur(t) for t in some]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("count", [1, FEW - 1, FEW, FEW + 1, 3 * FEW])
def test_long_texts_have_the_same_hashes_alone_and_with_others(
    function: str, count: int, code: str
) -> None:
    """Few are hashed one by one, many together; of many, the longest go on one by one."""
    sizes = [64 * SHORT * (number % 7) + number for number in range(count)]
    texts = [f"{size},y" * (size // 4) + "z" * 5_000 * (size % 50 == 0) for size in sizes]
    alone = [int(hash_texts(pa.array([text]), function)[0]) for text in texts]
    assert hash_texts(pa.array(texts), function).tolist() == alone


@pytest.fixture
def another_search() -> Iterator[None]:
    """What was found is forgotten before and after."""
    compiled.cache_clear()
    yield
    compiled.cache_clear()


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(deadline=None, max_examples=50)
@given(sizes=SIZES)
def test_compiled_code_gives_the_hashes_of_the_code_of_this_package(
    function: str, sizes: list[int]
) -> None:
    texts = pa.array(["é7\0ab"[: size % 5 + 1] * size for size in sizes], pa.string())
    hashes = hash_texts(texts, function).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashing, "compiled", lambda function: None)
        assert hash_texts(texts, function).tolist() == hashes


def test_murmur_is_compiled_wherever_gcc_built_torch() -> None:
    assert compiled("MURMUR_HASH") or sys.platform != "linux"


def test_only_long_texts_are_passed_to_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = []
    monkeypatch.setattr(hashing, "compiled", lambda function: lambda text: passed.append(text) or 7)
    texts = ["a", "b" * LONG, "c" * (LONG + 1), "é" * LONG, ""]
    hashes = hash_texts(pa.array(texts), "MURMUR_HASH").tolist()
    assert passed == [texts[2].encode(), texts[3].encode()]
    assert hashes == [murmur(t) if len(t.encode()) <= LONG else 7 for t in texts]


MODULES = {
    "absent": None,
    "another package": SimpleNamespace(FarmHash64=hash),
    "other hashes": SimpleNamespace(fingerprint64=lambda text: 5),
}


@pytest.mark.usefixtures("another_search")
@pytest.mark.parametrize("case", MODULES)
def test_a_module_that_is_not_pyfarmhash_is_not_used(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, native.FARM_MODULE, MODULES[case])
    assert compiled("FARM_HASH") is None
    text = "0123456789" * 1000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashing, "compiled", lambda function: None)
        expected = hash_texts(pa.array([text]), "FARM_HASH")
    assert hash_texts(pa.array([text]), "FARM_HASH") == expected


@pytest.mark.usefixtures("another_search")
@pytest.mark.parametrize(
    ("name", "value"), [("MURMUR_LIBRARY", "libabsent.so.6"), ("MURMUR_SYMBOL", "absent")]
)
def test_murmur_does_not_need_compiled_code(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, name, value)
    assert compiled("MURMUR_HASH") is None
    assert hash_texts(pa.array(["ab" * LONG]), "MURMUR_HASH")[0] == murmur("ab" * LONG)


def test_compiled_code_is_compared_with_a_text_that_is_long() -> None:
    assert len(PROBE) > LONG
    assert native.PROBE_HASHES["MURMUR_HASH"] == murmur(PROBE.decode())


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_long_text_is_hashed_in_two_tenths_of_a_second(function: str, code: str) -> None:
    """Ten megabytes by compiled code, else one. The best of several runs, so that what else the
    machine does matters little."""
    is_compiled = code == "compiled" and compiled(function)
    texts = pa.array(["x1y2z" * (2_000_000 if is_compiled else 200_000)])
    best = float("inf")
    for _ in range(5):
        begin = time.thread_time()
        hash_texts(texts, function)
        best = min(best, time.thread_time() - begin)
    assert best < 0.2, f"{best:.3f} s"


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(deadline=None, max_examples=50)
@given(texts=TEXTS, begin=st.integers(0, 5), size=st.integers(0, 20))
def test_a_hash_does_not_depend_on_the_texts_around(
    function: str, texts: list[str], begin: int, size: int
) -> None:
    alone = [int(hash_texts(pa.array([text]), function)[0]) for text in texts]
    part = pa.array(texts, pa.string()).slice(begin, size)
    assert hash_texts(part, function).tolist() == alone[begin : begin + size]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_more_texts_than_a_block_are_each_hashed_once(function: str) -> None:
    words = ["", "a", "user 17", "a text of more than eight bytes", "x" * 70]
    texts = pa.array([words[place % 5] for place in range(2 * BLOCK + 3)])
    alone = hash_texts(pa.array(words), function)
    hashes = hash_texts(texts, function)
    np.testing.assert_array_equal(hashes, alone[np.arange(len(texts)) % 5])


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_no_texts_give_no_hashes(function: str, kind: pa.DataType) -> None:
    assert hash_texts(pa.array([], kind), function).tolist() == []
    assert hash_texts(pa.array(["a", "b"], kind).slice(2), function).tolist() == []


@pytest.mark.parametrize("function", FUNCTIONS)
def test_five_million_short_texts_are_hashed_in_a_second_on_one_core(function: str) -> None:
    """The best of several runs, so that what else the machine does matters little."""
    texts = pa.array([f"{number * 7919 % 10_000_000}" for number in range(250_000)])
    best = float("inf")
    for _ in range(7):
        begin = time.thread_time()
        hash_texts(texts, function)
        best = min(best, time.thread_time() - begin)
    assert len(texts) / best > 5e6, f"{len(texts) / best:,.0f} texts/s"
