"""The page "Try it", opened from a file: it writes the bytes that Python writes, and says what is wrong with a file.

Nothing here is read back from a canvas: tokens, files and words are compared.
"""

import base64
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PATIENCE, ROOT
from firefox import firefox
from PIL import Image
from playwright.sync_api import Browser, Page
from test_accessibility import AXE, RULES

import arlib
from arlib import codec, data, metrics, sampling

pytestmark = pytest.mark.browser

SHOWN = json.loads((ROOT / "book" / "_static" / "try.json").read_text(encoding="utf-8"))


@pytest.fixture
def page(browser: Browser, site: Path) -> Iterator[Page]:
    """The page, in which no script may raise, and which may ask for nothing but its own files."""
    opened = browser.new_page()
    opened.set_default_timeout(PATIENCE * 400)
    raised: list[str] = []
    asked: list[str] = []
    opened.on("pageerror", lambda it: raised.append(str(it)))
    opened.on("request", lambda it: asked.append(it.url))
    opened.goto((site / "book" / "try.html").as_uri())
    yield opened
    assert raised == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)
    opened.close()


def wait(page: Page, words: str) -> str:
    """Until the line of news says `words`."""
    page.locator(".try-status", has_text=re.compile(words)).wait_for()
    return page.locator(".try-status").inner_text()


def downloaded(page: Page) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the .ptb").click()
    return Path(download.value.path()).read_bytes()


def give(page: Page, label: str, name: str, content: bytes) -> None:
    page.get_by_label(label, exact=True).set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    )


def as_file(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


def test_a_frame_becomes_the_very_file_that_python_writes(page):
    assert page.locator('script[src*="weights-"]').count() == 0  # not before they are asked for
    page.locator(".try-frame").first.click()
    wait(page, "Compressing: done")
    file = downloaded(page)
    frame = data.load("supertuxkart", "valid")[230]
    assert file == arlib.load_codec("book").compress(frame)
    numbers = page.locator(".try-numbers").inner_text()
    assert f"{len(file)} bytes" in numbers
    for name, peer in SHOWN["frames"][0]["peers"].items():
        assert page.get_by_text(f"{name}: {peer['bytes']} bytes").count() == 1
    page.get_by_role("button", name="Decode the file from above").click()
    wait(page, "Decoding: done")
    for bit, words in ((200, "do not match its checksum|damaged"), (3, "PTB|not")):
        page.get_by_label("Bit to flip").fill(str(bit))
        page.get_by_role("button", name="Flip this bit and decode").click()
        wait(page, words)


@pytest.mark.parametrize("webassembly", [True, False])
def test_the_same_integers_here(page, webassembly):
    if not webassembly:  # the page makes its worker of this text
        page.evaluate("TRY.source = 'delete globalThis.WebAssembly;' + TRY.source")
    page.get_by_role("button", name="Decode a golden file").click()
    page.get_by_text("Equal, to the last bit").wait_for()


def test_a_file_of_pythons_is_painted_and_a_wrong_one_is_told(page):
    frame = data.load("supertuxkart", "unseen")[40]
    give(page, "A .ptb file", "frame.ptb", arlib.load_codec("book").compress(frame))
    wait(page, "Decoding: done")
    for content in (b"", b"PTB", b"no such file", bytes(300)):
        give(page, "A .ptb file", "wrong.ptb", content)
        with pytest.raises(codec.CodecError) as error:
            codec.find(content)
        wait(page, re.escape(str(error.value)))


def test_the_other_formats_are_those_that_the_benchmark_measured():
    table = json.loads((ROOT / "book" / "_static" / "codecs.json").read_text(encoding="utf-8"))["splits"]
    for shown in SHOWN["frames"]:
        split, number = shown["name"].split()
        frame = data.load("supertuxkart", split)[int(number)]
        measured = list(table[split]["by frame"].values())[int(number)]
        for name, peer in shown["peers"].items():
            size, psnr = measured[name][0]
            assert (peer["bytes"], peer["psnr"]) == (size, pytest.approx(psnr, abs=0.006))
            content = base64.b64decode(peer["file"])
            picture = torch.from_numpy(np.array(Image.open(io.BytesIO(content)).convert("RGB")))
            assert len(content) == size
            assert metrics.psnr(frame[None], picture[None]).item() == pytest.approx(psnr, abs=0.006)
        assert shown["ours"]["bytes"] == measured["book"][0][0]


COUNT = """() => {
    globalThis.squares = 0;
    const { fillRect } = CanvasRenderingContext2D.prototype;
    CanvasRenderingContext2D.prototype.fillRect = function (...where) { squares++; fillRect.apply(this, where); };
}"""


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_a_picture_appears_token_by_token_unless_its_visitor_wants_no_motion(page, motion):
    page.emulate_media(reduced_motion=motion)
    page.evaluate(COUNT)
    page.get_by_role("button", name="Decode a golden file").click()
    page.get_by_text("Equal, to the last bit").wait_for()
    assert page.evaluate("squares") == 1 + (600 if motion == "no-preference" else 0)  # the first is the gray of all


def test_the_pictures_can_be_enlarged_and_swapped_by_the_keyboard_alone(page):
    page.set_viewport_size({"width": 320, "height": 256})  # a window of 1280 × 1024 at 400 %
    page.locator(".try-frame").first.focus()
    page.keyboard.press("Enter")
    wait(page, "Compressing: done")
    divider = page.get_by_label("Original | from the file")
    divider.focus()
    page.keyboard.press("End")
    assert divider.get_attribute("aria-valuetext") == "100 % original"
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("(document.activeElement.labels?.[0] ?? document.activeElement).textContent"))
    assert [words[:4] for words in reached] == ["Size", "Surp", "Swap", "Down", "A .p"]
    page.locator("#try select").nth(1).focus()
    page.keyboard.type("4")  # its choice of 400 %
    assert page.locator(".try-stack").bounding_box()["width"] == 600
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.get_by_label("Surprise over the picture").press("Space")
    assert page.locator(".try-stack canvas").nth(2).is_visible()


def draw_slowly(page: Page) -> None:
    """A frame is drawn in half a second, before a busy machine has clicked; here its 600 tokens take 10 ms each."""
    page.evaluate("""TRY.source += `{
        const { draw } = ptb;
        ptb.draw = (...its) => {
            for (const end = performance.now() + 10; performance.now() < end; );
            return draw(...its);
        };
    }`""")


def test_any_bytes_and_a_seed_give_a_frame_and_can_be_canceled(page):
    draw_slowly(page)
    page.get_by_label("Letters").fill("a name")
    page.get_by_role("button", name="Decode these letters").click()
    wait(page, "nobody wrote: done")
    page.get_by_role("button", name="Draw a frame").click()
    wait(page, r"Drawing …")
    page.get_by_role("button", name="Cancel").click()
    wait(page, "Canceled")
    page.get_by_role("button", name="Draw a frame").click()
    wait(page, r"Drawing …")
    page.keyboard.press("Escape")
    wait(page, "Canceled")
    page.get_by_role("button", name="Draw a frame").click()
    wait(page, "Drawing: done")


LISTEN = """globalThis.Worker = class extends Worker {
    constructor(...its) {
        super(...its);
        this.addEventListener("message", ({ data }) => (globalThis.tokens = data.result?.tokens ?? globalThis.tokens));
    }
}"""


def test_the_top_of_a_picture_is_completed_as_python_completes_it(page):
    page.add_init_script(LISTEN)
    page.reload()
    page.get_by_label("Rows to keep of the picture above").fill("10")
    page.get_by_role("button", name="Draw a frame").click()
    wait(page, "Compress a picture with book first")
    page.locator(".try-frame").nth(2).click()
    wait(page, "Compressing: done")
    coded = page.evaluate("[...tokens]")
    page.get_by_label("Seed").fill("7")
    page.get_by_label("Temperature").fill("8")
    page.get_by_label("Top k").fill("50")
    page.get_by_role("button", name="Draw a frame").click()
    wait(page, "Drawing: done")
    model = arlib.load_codec("book")
    drawn = sampling.generate(model.twin, 1, 7, 0.8 * 1024, top_k=50, beginning=torch.tensor(coded[:300]))
    assert page.evaluate("[...tokens]") == drawn[0].tolist()
    (grid,) = model.tokenizer.encode(data.load("supertuxkart", "valid")[28:29])
    assert sum(mine != its for mine, its in zip(coded, grid.flatten().tolist(), strict=True)) <= 1


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_picture_or_a_file_can_be_dropped_and_pasted(page, kind):
    give = """([kind, name, content]) => {
        const files = new DataTransfer();
        files.items.add(new File([new Uint8Array(content)], name));
        const Given = { drop: DragEvent, paste: ClipboardEvent }[kind];
        document.body.dispatchEvent(new Given(kind, { dataTransfer: files, clipboardData: files, bubbles: true }));
    }"""
    page.evaluate(give, [kind, "red.png", list(as_file(Image.new("RGB", (30, 20), "red")))])
    wait(page, "30 × 20 pixels is fitted")
    page.evaluate(give, [kind, "frame.ptb", list((ROOT / "tests" / "golden" / "00.ptb").read_bytes())])
    wait(page, "Decoding: done")


@pytest.mark.parametrize(("width", "height"), [(1400, 900), (400, 800)])
def test_what_is_painted_and_the_way_out_are_in_sight_of_the_button(page, width, height):
    draw_slowly(page)
    page.set_viewport_size({"width": width, "height": height})
    page.get_by_role("button", name="Draw a frame").click()
    wait(page, "Drawing …")
    needed = [page.get_by_role("button", name=name) for name in ("Draw a frame", "Cancel")]
    boxes = [it.bounding_box() or {"y": -1, "height": 0} for it in (*needed, page.locator(".try-painting"))]
    assert all(box["y"] >= 0 and box["y"] + box["height"] <= height for box in boxes), boxes


def test_pictures_of_many_kinds_are_fitted_or_refused_with_a_word(page, tmp_path):
    torch.manual_seed(0)
    photo = Image.fromarray(torch.randint(256, (90, 300, 3), dtype=torch.uint8).numpy())
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds = {
        "photo.png": as_file(photo),
        "palette.png": as_file(photo.quantize(16)),
        "clear.png": as_file(photo.convert("RGBA")),
        "photo.jpg": as_file(photo, "JPEG"),
        "turned.jpg": as_file(photo, "JPEG", exif=turned),
        "cmyk.jpg": as_file(photo.convert("CMYK"), "JPEG"),
        "photo.webp": as_file(photo, "WEBP"),
        "one.png": as_file(Image.new("RGB", (1, 1), "red")),
        "sixteen.png": as_file(Image.new("I;16", (40, 40), 30000)),
    }
    for name, content in kinds.items():
        give(page, "Your own picture", name, b"nothing at all")
        wait(page, "no picture that the browser can read")
        assert page.get_by_role("button", name="Compress it").is_disabled()
        give(page, "Your own picture", name, content)
        wait(page, "is fitted to 150 × 100")
        assert page.get_by_role("button", name="Compress it").is_enabled()
        assert name != "turned.jpg" or "90 × 300 pixels" in wait(page, "fitted")
    give(page, "Your own picture", "photo.png", kinds["photo.png"])
    page.get_by_label("Which part").wait_for()
    page.get_by_role("button", name="Compress it").click()
    wait(page, "Compressing: done")
    (tmp_path / "photo.png").write_bytes(kinds["photo.png"])
    fitted = data.read_image(tmp_path / "photo.png", fit=True)
    (expected,) = arlib.load_tokenizer("book").encode(fitted[None])
    decoded = arlib.load_codec("book").decompress_tokens(downloaded(page))
    assert (decoded != expected).sum() <= 1  # of 600: PyTorch's own encoder may round otherwise


# While the page says that it reads: how long it does, and the longest time in which it did nothing else.
LIVES = """() => {
    let last = performance.now();
    let begun = null;
    let longest = 0;
    const tick = () => {
        const now = performance.now();
        longest = Math.max(longest, now - last);
        last = now;
    };
    setInterval(tick, 10);
    new MutationObserver(([{ target }]) => {
        tick();
        if (target.textContent.startsWith("Reading")) [begun, longest] = [last, 0];
        else if (begun !== null) [globalThis.read, begun] = [{ took: last - begun, longest }, null];
    }).observe(document.querySelector(".try-status"), { childList: true });
}"""


def photograph(kind: str) -> bytes:
    """12 megapixels of a frame and some noise, as a camera's file."""
    frame = Image.fromarray(data.load("supertuxkart", "unseen")[40].numpy()).resize((4000, 3000))
    noise = torch.randint(-6, 7, (3000, 4000, 3), generator=torch.Generator().manual_seed(0))
    pixels = (torch.from_numpy(np.array(frame)).int() + noise).clamp(0, 255).byte()
    options = {"compress_level": 1} if kind == "PNG" else {"quality": 92}
    return as_file(Image.fromarray(pixels.numpy()), kind, **options)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_page_lives_on_while_the_picture_of_a_camera_is_read(page, tmp_path, kind):
    camera = tmp_path / f"camera.{kind.lower()}"
    camera.write_bytes(photograph(kind))
    shutil.copy(camera, tmp_path / f"again.{kind.lower()}")
    upload = page.get_by_label("Your own picture", exact=True)
    page.evaluate(LIVES)
    upload.set_input_files(camera)
    wait(page, "4000 × 3000 pixels is fitted")
    read = page.evaluate("read")
    assert read["took"] > 300  # milliseconds: so that there was something to wait for
    assert read["longest"] < read["took"] / 3

    upload.set_input_files(tmp_path / f"again.{kind.lower()}")
    wait(page, "Reading the picture …")
    assert page.get_by_role("progressbar").is_visible()
    page.get_by_role("button", name="Cancel").click()
    assert page.locator(".try-status").inner_text() == "Canceled."
    assert page.get_by_role("button", name="Compress it").is_disabled()

    upload.set_input_files(camera)
    wait(page, "is fitted")
    page.get_by_label("Which part").fill("100")
    page.locator("#try button:enabled", has_text="Compress it").click()
    wait(page, "Compressing: done")
    if kind == "PNG":  # of which the browser sees the same pixels as Pillow
        with Image.open(camera) as whole:
            whole.crop((0, 333, 4000, 3000)).save(tmp_path / "lowest.png")
        (expected,) = arlib.load_tokenizer("book").encode(data.read_image(tmp_path / "lowest.png", fit=True)[None])
        assert (arlib.load_codec("book").decompress_tokens(downloaded(page)) != expected).sum() <= 1


def test_a_browser_whose_workers_have_no_canvas_lends_its_own(page):
    page.add_init_script("delete globalThis.OffscreenCanvas")
    page.reload()
    give(page, "Your own picture", "red.jpg", as_file(Image.new("RGB", (30, 21), "red"), "JPEG"))
    wait(page, "30 × 21 pixels is fitted")


@pytest.mark.parametrize("colors", ["light", "dark"])
def test_the_page_in_use_is_for_everybody(page, colors):
    draw_slowly(page)
    page.emulate_media(color_scheme=colors, reduced_motion="reduce")  # no color is halfway to another
    page.locator(".try-frame").first.click()
    wait(page, "Compressing: done")
    page.get_by_role("button", name="Draw a frame").click()
    wait(page, "Drawing …")
    page.evaluate(AXE)
    found = page.evaluate(f"axe.run(document, {RULES})")["violations"]
    assert [it["id"] for it in found if it["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("width", [1400, 400])
def test_nothing_is_wider_than_the_page(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


NEWS = "document.querySelector('.try-status').textContent"
FILE = """fetch(document.querySelector('a[download]').href)
    .then((it) => it.arrayBuffer()).then((it) => [...new Uint8Array(it)])"""


@pytest.mark.parametrize("protected", [False, True])
def test_firefox_writes_the_same_file_also_where_it_hides_its_user(site, tmp_path, protected):
    """With privacy.resistFingerprinting, pixels that a page reads from a canvas are wrong: PNG needs no canvas."""
    with firefox(tmp_path, PATIENCE, privacy_resistFingerprinting=protected) as tab:
        tab.open((site / "book" / "try.html").as_uri())
        tab.run("document.querySelector('.try-frame').click()")
        tab.wait(f"{NEWS}.startsWith('Compressing: done')")
        frame = data.load("supertuxkart", "valid")[230]
        assert bytes(tab.run(FILE)) == arlib.load_codec("book").compress(frame)
        jpeg = list(as_file(Image.new("RGB", (30, 20), "red"), "JPEG"))
        tab.run(f"""(() => {{
            const carried = new DataTransfer();
            carried.items.add(new File([new Uint8Array({jpeg})], "red.jpg", {{ type: "image/jpeg" }}));
            document.dispatchEvent(new DragEvent("drop", {{ dataTransfer: carried }}));
        }})()""")
        if protected:
            tab.wait(f"{NEWS}.includes('changes the pixels that a page reads')")
        else:
            tab.wait(f"{NEWS} === 'The picture of 30 × 20 pixels is fitted to 150 × 100.'")
