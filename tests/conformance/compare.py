"""Compares two folders of normalized transcripts: compare.py REFERENCE OTHER [--context N] [--brief].

Prints a line per transcript and a closing score. Exit 1 when any line differs or a transcript is missing.
"""

import argparse
import difflib
import pathlib
import sys


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reference", type=pathlib.Path)
    parser.add_argument("other", type=pathlib.Path)
    parser.add_argument("--context", type=int, default=2)
    parser.add_argument("--brief", action="store_true", help="leave the differing lines out")
    args = parser.parse_args()
    total = differing = same_files = files = 0
    for left in sorted(args.reference.glob("*.norm.json")):
        expected = left.read_text().splitlines()
        right = args.other / left.name
        actual = right.read_text().splitlines() if right.exists() else []
        lines = list(difflib.unified_diff(expected, actual, "reference", "other", n=args.context, lineterm=""))
        changed = sum(line[:1] in "+-" and line[:3] not in ("+++", "---") for line in lines)
        state = "same" if not changed else f"{changed} lines differ" if actual else "not recorded"
        print(f"{left.name}: {state}")
        if lines and actual and not args.brief:
            print("\n".join(lines))
        files += 1
        same_files += not changed
        total += len(expected)
        differing += min(changed, len(expected))
    if not files:
        print("no transcripts in the reference folder")
        return 2
    print(f"{same_files} of {files} transcripts same, {100 * (total - differing) / total:.2f} % of {total} lines")
    return 0 if same_files == files else 1


if __name__ == "__main__":
    sys.exit(main())
