# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options of every health module."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  timeout:
    description:
      - Seconds that a check has altogether. What has not answered by then is V(critical), and its
        finding says what it was waiting for.
    type: float
    default: 10.0
  fail_when_unhealthy:
    description: Whether a finding that is V(critical) or V(unknown) fails the task.
    type: bool
    default: true
notes:
  - Changes nothing, in check mode or outside it.
  - What cannot be checked is V(unknown) with the remedy, never healthy.
attributes:
  check_mode:
    description: Does the same in check mode.
    support: full
  diff_mode:
    description: Has no differences to show.
    support: none
"""

    CHECK = r"""
options:
  name:
    description: Names the check in its findings.
    type: str
    required: true
"""

    REQUEST = r"""
options:
  url:
    description: What to ask, as a visitor writes it.
    type: str
    required: true
  address:
    description:
      - Connect here instead of to the address of the URL's host, which certificate and request
        still name. So a machine examines itself and not whoever the name leads to.
    type: str
    default: ''
  ca_file:
    description: PEM file with authorities to trust besides the machine's own.
    type: path
  headers:
    description: Request headers. None of them follows a redirect to another host.
    type: dict
    default: {}
  advice:
    description: What to do, told with a finding that is not V(ok), in place of general advice.
    type: str
    default: ''
"""
