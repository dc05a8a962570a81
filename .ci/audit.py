"""Audits the packages of an environment: ``audit.py SITE-PACKAGES``, run with a Python that has pip-audit.

Fails for a package with a known vulnerability. Says that it is skipped where the advisories cannot be asked for: then
pip-audit itself ends with an error, or, behind a package index that has no advisories, finds nothing and calls it well.
"""

from __future__ import annotations

import json
import subprocess
import sys


def main() -> int:
    """Prints one line, or one for each vulnerability."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    done = subprocess.run([*command, "--path", sys.argv[1]], capture_output=True, text=True, timeout=300, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"Audit skipped: {(done.stderr.strip().splitlines() or ['pip-audit said nothing'])[-1]}")
        return 0
    audited = [each for each in packages if "vulns" in each]
    if not audited:
        print(f"Audit skipped: no advisories can be had here for any of {len(packages)} packages.")
        return 0
    found = [(each, vulnerability) for each in audited for vulnerability in each["vulns"]]
    for each, vulnerability in found:
        fixed = ", ".join(vulnerability["fix_versions"]) or "none"
        print(f"{each['name']} {each['version']}: {vulnerability['id']}, fixed in {fixed}")
    print(f"{len(audited)} of {len(packages)} packages audited, {len(found)} vulnerabilities.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
