"""`vbench doctor`: what this machine can measure, what is missing and how to get it."""

from vbench.cli import console, options


def doctor(json: options.AsJson = False) -> None:
    """Check what this machine can measure.

    Example: vbench doctor
    """
    from vbench.measure.checkup import checkup

    with console.status("looking"):
        findings = checkup()
    if json:
        console.data(findings)
        return
    rows = [(f.topic, "yes" if f.available else "no", f.found, f.hint or "") for f in findings]
    console.table("this machine", ("can measure", "", "found", "to get it"), rows)
