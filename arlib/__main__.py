"""`python -m arlib`, with less garbage collected than Python would.

Python looks for garbage whenever there are some hundred objects more, and through all of them once again at the end.
Torch alone makes a quarter of a million: a third of a second goes by, and nothing is found.
"""

import gc

if __name__ == "__main__":
    gc.set_threshold(10_000)
    from arlib.cli import main

    try:
        main()
    finally:
        gc.freeze()  # what is left at the end is not looked through
