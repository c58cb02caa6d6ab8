# SPDX-License-Identifier: BSD-2-Clause
"""The page that explains a failed VM entry answers what the host's program does, with nothing but its own file."""
import glob
import json
import os
import shutil
import subprocess

import pytest

from browser import SITE, TREE

PROGRAM = os.path.join(TREE, "build", "tools", "vmx-explain")
DUMPS = sorted(glob.glob(f"{TREE}/test/dumps/*.txt") + glob.glob(f"{TREE}/site/explain/examples/*.txt"))
KVM_A = os.path.join(TREE, "test", "dumps", "kvm-a.txt")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def start(page):
    page.open("index.html")
    page.wait(lambda: page.js("checker !== null"))


def paste(page, text):
    """As a paste does it: the text at once, then the event."""
    page.execute_script("""const box = document.getElementById("dump"); box.value = arguments[0];
                           box.dispatchEvent(new Event("input", { bubbles: true }));""", text)


def verdict(page):
    return page.one("#verdict").text


def answered(page, text):
    """Pastes, waits for the answer to this text, and returns its words."""
    before = page.js("answer")
    paste(page, text)
    page.wait(lambda: page.js("answer !== null") and page.js("answer") != before)
    return verdict(page)


def host(text, *arguments):
    done = subprocess.run([PROGRAM, *arguments], input=text.encode(), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name, rule, field", [
    ("kvm-a", "BLOCKING_STI", "GUEST_INTERRUPTIBILITY"), ("kvm-b", "DATA_ACCESSED", "GUEST_ES_ACCESS"),
    ("xen-a", "DEBUG_STEP", "GUEST_PENDING_DEBUG"),
])
def test_a_pasted_dump_is_answered(page, name, rule, field):
    start(page)
    words = answered(page, read(f"{TREE}/test/dumps/{name}.txt"))
    assert "broken" in words and field in words
    card = page.one("#answer .finding.broken")
    assert field in card.text and rule in card.text and "SDM\n3C 26.3.1" in card.text.replace(" \n", "\n")
    row = page.one(f"#field-{field}")
    assert row.get_attribute("class") == "broken" and "✗" in row.text and "broken" in row.get_attribute("textContent")
    assert len(page.all("#fields tbody tr")) == len(page.js("answer.fields")) > 90


def test_it_answers_as_one_types(page):
    start(page)
    box = page.one("#dump")
    box.send_keys("VM_INSTRUCTION_ERROR = 7\nPIN_BASED_VM_EXEC_CONTROL = 0x16\n")
    page.wait(lambda: page.js("answer && answer.fields.length") == 2)
    box.send_keys("CPU_BASED_VM_EXEC_CONTROL = 0x8401e172\nSECONDARY_VM_EXEC_CONTROL = 0x20\n")
    box.send_keys("VIRTUAL_PROCESSOR_ID = 0\n")
    page.wait(lambda: "VPID" in verdict(page))
    page.one("#clear").click()
    assert verdict(page) == "Nothing to explain yet." and not page.one("#decoded").is_displayed()


def test_the_answer_is_the_hosts(page):
    """The same sources for another machine, of 32 bits: each dump, whole and cut, gives the same JSON."""
    start(page)
    texts = [read(path) for path in DUMPS]
    assert len(texts) >= 6
    texts += [text[: len(text) * part // 7] for text in texts for part in (1, 3, 5)] + [texts[0] + texts[2], "", "é\0"]
    for text in texts:
        assert page.js("checker.explain(arguments[0], '', 0, 1)", text) == host(text, "--which", "1")
        model = page.js("checker.explain(arguments[0], '', 3, 1)", text)
        assert model == host(text, "--which", "1", "--model", page.js("checker.models[2]"))


def test_a_long_answer_is_whole(page):
    """The answer's buffer grows with it."""
    start(page)
    text = read(KVM_A)
    assert page.js("checker.explain(arguments[0], '', 0, 1, 64)", text) == host(text, "--which", "1")


def test_every_example(page):
    start(page)
    buttons = page.all("#examples button")
    assert len(buttons) == 6
    verdicts = []
    for button in buttons:
        button.click()
        verdicts.append(page.js("answer.verdict"))
        assert page.js("answer.fields.length") >= 15
    assert verdicts == ["broken"] * 5 + ["clean"]


def test_the_models_are_the_programs(page):
    start(page)
    listed = subprocess.run([PROGRAM, "--models"], capture_output=True, text=True, check=True).stdout.split()
    assert [option.text for option in page.all("#model option")] == ["not known", *listed]


def test_a_model_or_capabilities_judge_more(page):
    start(page)
    own = read(f"{TREE}/site/explain/examples/own.txt")
    answered(page, own)
    unknown = page.js("answer.unjudged.length")
    page.one("#model").send_keys("corei7_skylake_x")
    page.wait(lambda: page.js("answer.unjudged.length") < unknown)
    page.execute_script("byId('model').value = '0'; byId('model').dispatchEvent(new Event('change'))")
    assert page.js("answer.unjudged.length") == unknown
    page.one("#caps-row summary").click()
    page.one("#caps").send_keys("IA32_VMX_PROCBASED_CTLS2 0x00ffffff00000000\n")
    page.wait(lambda: page.js("answer.unjudged.length") < unknown)


def test_one_of_several_dumps(page):
    start(page)
    answered(page, read(KVM_A) + "\n" + read(f"{TREE}/test/dumps/xen-a.txt"))
    assert page.js("answer.dumps") == 2 and page.one("#which").is_displayed()
    assert page.js("answer.broken[0].rule") == "BLOCKING_STI"
    page.one("#which").send_keys("2")
    page.wait(lambda: page.js("answer.broken[0].rule") == "DEBUG_STEP")
    answered(page, read(KVM_A))
    assert not page.one("#which").is_displayed() and page.js("answer.broken[0].rule") == "BLOCKING_STI"


def test_what_is_no_dump_is_said(page):
    start(page)
    assert answered(page, "hello, world\n") == "No dump of a VMCS was found in this text."
    assert not page.one("#decoded").is_displayed() and not page.one("#copy").is_displayed()


def test_a_line_is_shown_in_the_dump(page):
    start(page)
    answered(page, read(KVM_A))
    page.one(".finding.broken .line").click()
    chosen = page.js("(box => box.value.slice(box.selectionStart, box.selectionEnd))(document.getElementById('dump'))")
    assert "Interruptibility = 00000009" in chosen and "\n" not in chosen
    assert page.js("document.activeElement.id") == "dump"


def test_the_answer_can_be_copied_for_a_mail(page):
    start(page)
    answered(page, read(KVM_A))
    page.one("#copy").click()
    page.wait(lambda: page.one("#copy").text == "Copied")
    text = page.js("answerText()")
    assert text.startswith("KVM's dump, 110 fields. 1 rule is broken: GUEST_INTERRUPTIBILITY\nThe CPU says: exit ")
    for part in ("GUEST_INTERRUPTIBILITY = 0x9", "rule: blocking by STI", "SDM 3C 26.3.1.5", "cause: "):
        assert part in text


def test_a_rule_leads_to_its_page(page):
    start(page)
    answered(page, read(KVM_A))
    page.one(".finding.broken dd a").click()
    page.wait(lambda: page.current_url.endswith("docs/entry-rules.html#BLOCKING_STI"))
    assert "blocking by STI must be 0" in page.one("#BLOCKING_STI").find_element("xpath", "ancestor::tr").text


def test_fields_can_be_chosen(page):
    start(page)
    answered(page, read(KVM_A))
    page.one("#filter").send_keys("host_cr")
    assert [row.text.split()[0] for row in page.all("#fields tbody tr")] == ["HOST_CR0", "HOST_CR3", "HOST_CR4"]


def test_what_is_pasted_is_never_markup(page):
    """Whatever the checker repeats of the text."""
    start(page)
    answered(page, read(KVM_A))
    page.execute_script("""const mark = "<img src=x>";
        answer = JSON.parse(JSON.stringify(answer).replaceAll('"GUEST_INTERRUPTIBILITY"', JSON.stringify(mark)));
        answer = { ...answer, remarks: [mark], not_understood: [{ line: 1, text: mark, why: mark }] };
        showAnswer(); showFields();""")
    assert page.one("main").text.count("<img src=x>") >= 5 and not page.all("main img")


def test_it_is_one_file_and_asks_nobody(page, tmp_path):
    """A copy alone answers; and even the page's own script could not send anything."""
    shutil.copy(os.path.join(SITE, "index.html"), tmp_path / "alone.html")
    page.get(f"file://{tmp_path}/alone.html")
    page.wait(lambda: page.js("checker !== null"))
    assert "GUEST_INTERRUPTIBILITY" in answered(page, read(KVM_A))
    assert page.js("performance.getEntriesByType('resource').length") == 0
    policy = page.one("meta[http-equiv='Content-Security-Policy']").get_attribute("content")
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy and "connect-src" not in policy
    sent = page.execute_async_script("""const done = arguments[0];
        fetch("data:,x").then(() => done("sent"), () => done("refused"));""")
    assert sent == "refused"
    assert all("Content Security Policy" in line for line in page.complaints())


def test_keys_alone_are_enough(page):
    """The first Tab leads past the menu; a dump's example, the box and the answer's links follow in this order."""
    start(page)
    places = []
    for _ in range(40):
        page.switch_to.active_element.send_keys("\ue004")
        places.append(page.js("document.activeElement.id || document.activeElement.textContent.trim()"))
        if places[-1] == "model":
            break
    assert places[0] == "To the dump" and places.index("KVM, in SMM") < places.index("dump") < places.index("model")
    page.all("#examples button")[0].send_keys("\ue007")
    page.wait(lambda: "broken" in verdict(page))


def test_names_for_a_screen_reader(page):
    start(page)
    assert page.one("#verdict").get_attribute("role") == "status"
    answered(page, read(KVM_A))
    assert page.unnamed() == []
    assert all(table.find_elements("css selector", "caption") for table in page.all("#fields table"))
    assert page.js("document.documentElement.lang") == "en"


def contrast(one, other):
    """As WCAG 2 defines it."""
    def light(colour):
        parts = [part / 255 for part in colour]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    brighter, darker = sorted((light(one), light(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("width", [320, 400, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_narrow_and_dark(page, width, dark):
    page.look(width=width, dark=dark)
    start(page)
    for button in page.all("#examples button"):
        button.click()
        assert page.too_wide() <= 0, button.text
    assert max(page.ground()) < 80 if dark else min(page.ground()) > 200
    for selector in ("main p", ".quiet", "a", "#verdict", "button"):
        colours = page.js("""((e) => { let ground = e; const plain = "rgba(0, 0, 0, 0)";
            while (getComputedStyle(ground).backgroundColor === plain) { ground = ground.parentElement; }
            return [getComputedStyle(e).color, getComputedStyle(ground).backgroundColor]
                .map((text) => text.match(/[0-9]+/g).slice(0, 3).map(Number)); })(arguments[0])""", page.one(selector))
        assert contrast(*colours) >= 4.5, (selector, colours)


def test_the_picture_in_docs_is_one(page):
    """site/picture makes it of this page."""
    with open(f"{TREE}/docs/vmx-explain.png", "rb") as file:
        head = file.read(24)
    assert head[:8] == b"\x89PNG\r\n\x1a\n" and int.from_bytes(head[16:20], "big") == 1280
