# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What serves an application on a machine."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of M(slipway.stack.app_publish) and M(slipway.stack.app_deployment)."""

    DOCUMENTATION = r"""
options:
  name:
    description: Name of the application and of its user.
    type: str
    required: true
  home:
    description: Directory of the application.
    type: path
    required: true
  units:
    description: Units to restart in this order, as M(slipway.stack.service_config) takes them.
    type: list
    elements: dict
    default: []
  endpoints:
    description: Servers of the application, as the filter P(slipway.stack.app_layout#filter) says.
    type: list
    elements: dict
    default: []
  workers:
    description:
      - Workers that run the release too, with the keys C(unit), C(node) and C(module). Going
        forward they restart before the servers, going back after them.
    type: list
    elements: dict
    default: []
  beat:
    description: Unit of the scheduler on this machine, which restarts once the servers have.
    type: str
    default: ""
  commands:
    description:
      - Commands with the keys C(name) and C(command) that put a release's files where all releases
        have theirs. Who serves again runs them again, because the release before has replaced the
        list of their names.
    type: list
    elements: dict
    default: []
  together:
    description: On the way back workers wait until the servers of all machines are back.
    type: bool
    default: false
  health_timeout:
    description: Seconds within which the health endpoint must say that all is well.
    type: int
    default: 60
"""
