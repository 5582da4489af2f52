"""The man pages: clean for man-db and mandoc, one a verb, and saying what the program's own tables say."""
import glob
import os
import re

from morseltest import ROOT, need

MAN = f"{ROOT}/man"


def pages():
    return sorted(glob.glob(f"{MAN}/*.[1-8]"))


def source(name):
    with open(f"{MAN}/{name}", encoding="ascii") as f:
        return f.read()


def plain(text):
    """A line of roff without its macros and fonts."""
    text = re.sub(r"\\f[BIR]", "", text).replace("\\-", "-").replace('"', "")
    return re.sub(r"^\.(B|I|BR|BI|IR|RB|RI)\s+", "", text)


def documented(name):
    """The options that stand in the tags of a page's OPTIONS."""
    text = source(name)
    if ".SH OPTIONS" not in text:
        return set()
    section = re.split(r"(?m)^\.SH ", text.split(".SH OPTIONS\n")[1])[0]
    tags = re.findall(r"(?m)^\.TP\n(.*)$", section)
    return {o for tag in tags for o in re.findall(r"--([a-z][a-z-]*[a-z])", re.sub(r"\s(?=[a-z-])", " ", plain(tag)))}


def verbs(t):
    return re.findall(r"(?m)^  ([a-z]+) ", t.morsel("help").text)


def options(t, verb):
    return set(re.findall(r"(?m)^  (?:-.,|   ) --([a-z-]+)", t.morsel("help", verb).text))


def case_clean(t):
    """man-db's groff and mandoc have nothing to say about any page."""
    need("man", "mandoc")
    t.check(len(pages()) > 8, "pages are missing")
    for page in pages():
        t.equal(t.run("mandoc", "-T", "lint", "-W", "warning", page).text, "", page)
        t.equal(t.run("man", "--warnings", "-l", page, env={"MANWIDTH": "100", "LC_ALL": "C.UTF-8"}).err_text, "", page)


def case_verbs_and_options(t):
    """Every verb has a page, every option of it is there or in morsel(1), and no page has one that is not."""
    common, known = documented("morsel.1"), set()
    overview = plain(source("morsel.1"))
    for verb in verbs(t):
        known |= options(t, verb)
        if verb in ("version", "help"):
            t.contains(overview, f"morsel {verb}")
            continue
        t.contains(overview, f"morsel-{verb} (1)")
        own = documented(f"morsel-{verb}.1")
        t.equal(sorted(options(t, verb) - own - common), [], f"options of {verb} that no page has")
        t.equal(sorted(own - options(t, verb)), [], f"options in morsel-{verb}(1) that {verb} does not take")
        t.equal(sorted(own & common), [], f"options both in morsel-{verb}(1) and morsel(1)")
    t.equal(sorted(common - known), [], "options in morsel(1) that no verb takes")
    written = {os.path.basename(p) for p in glob.glob(f"{MAN}/morsel-*.1")}
    t.equal(sorted(written - {f"morsel-{v}.1" for v in verbs(t)}), [], "pages of verbs that do not exist")


def case_references(t):
    """Pages that pages of ours refer to exist."""
    have = {os.path.basename(p) for p in pages()}
    for page in have:
        for name, section in re.findall(r"(?m)^\.BR (\S*morsel\S*) \((\d)\)", source(page)):
            t.check(f"{plain(name)}.{section}" in have, f"{page} refers to {plain(name)}({section})")
