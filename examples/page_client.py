"""Reads a run from its page: python page_client.py http://127.0.0.1:8765 [TOKEN]"""

import json
import sys
import urllib.request


def ask(url: str, token: str = "") -> bytes:
    """Return what an address answers."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - the address that you name
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return answer.read()


if __name__ == "__main__":
    page, token = sys.argv[1].rstrip("/"), (sys.argv[2:] or [""])[0]
    run = json.loads(ask(f"{page}/api/run", token))
    print(f"{run['name']}: {run['counts']['done']} restored, {run['doubtful']} doubtful")
    for entry in json.loads(ask(f"{page}/api/entries", token))["entries"]:
        for stack in (entry["report"] or {"stacks": []})["stacks"]:
            print(entry["name"], stack["channel_name"], "SNR", stack["snr"], *stack["doubts"])
