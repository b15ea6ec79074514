"""Whether bytes begin as a tar file does, also one of before there was a mark: by the sum of its first header.

It imports nothing of ours, so that the process which looks into pickles and archives can use it.
"""

import tarfile


def begins_as_tar(head: bytes) -> bool:
    """Say whether a file begins as a tar file does.

    Args:
      head: its first 512 bytes or more; fewer are no header.
    """
    try:
        tarfile.TarInfo.frombuf(head[:512], "utf-8", "replace")
    except tarfile.HeaderError:
        return False
    return True
