"""Files with something wrong in them."""

import hypothesis.strategies as st


@st.composite
def damaged(draw: st.DrawFn, originals: st.SearchStrategy[bytes]) -> bytes:
    """A file of which some bytes are changed, doubled, left out or cut off, or that is something else altogether."""
    content = bytearray(draw(originals))
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=80))
    for _ in range(draw(st.integers(1, 4))):
        size = len(content)
        # The ends of a file hold what describes it, so they are as likely as all the rest.
        region = draw(st.sampled_from(["start", "end", "any"]))
        low, high = {"start": (0, 200), "end": (size - 400, size), "any": (0, size)}[region]
        start = draw(st.integers(max(0, low), max(0, min(high, size - 1))))
        length = draw(st.sampled_from([1, 1, 1, 2, 8, 40, size // 4]))
        how = draw(st.sampled_from(["change", "change", "leave out", "double", "zero", "cut"]))
        if how == "change":
            content[start : start + 1] = draw(st.binary(min_size=1, max_size=1))
        elif how == "leave out":
            del content[start : start + length]
        elif how == "double":
            content[start:start] = content[start : start + length]
        elif how == "zero":
            content[start : start + length] = bytes(min(length, max(0, size - start)))
        else:
            del content[start:]
        if not content:
            break
    return bytes(content)
