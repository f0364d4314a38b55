import os
from fleet import Fleet
def test_x(tmp_path):
    f=Fleet(tmp_path)
    b=f.board(); b.settings["DFEDGE_DEBUG"]="1"
    try: b.start()
    except AssertionError as e: print(str(e)[-5000:]); raise
    finally: f.stop()
