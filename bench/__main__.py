"""`python -m bench`, as scripts/bench runs it."""

import resource
import sys

from bench import compare, scale

# A thousand clients have a thousand descriptors, here and in each proxy, which takes its limit from us.
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

sys.exit(scale.main(sys.argv[2:]) if sys.argv[1:2] == ["scale"] else compare.main(sys.argv[1:]))
