"""The command line itself: verbs, options, help, exit codes."""


def case_version(t):
    r = t.morsel("version")
    t.check(r.text.startswith("morsel "), r.text)
