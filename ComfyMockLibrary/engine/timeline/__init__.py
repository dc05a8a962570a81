"""What happened, to look at: journals of all parties on one axis, as a page or as a part of one.

from ComfyMockLibrary.engine.timeline.files import find_journals, read_journals
from ComfyMockLibrary.engine.timeline.page import page
from ComfyMockLibrary.engine.timeline.story import tell

html = page(tell(read_journals(find_journals(["results/comfymock"]))))
"""
