#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: pooling_health
short_description: Examine whether an application connects as a transaction pooler needs it
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - Imports the application in its published release, with its user and environment, and looks at
    what it would connect with. No connection is opened.
  - Of Django every database of the settings is seen; otherwise the engines of SQLAlchemy that
    importing the application makes. Only connections to O(port) are judged.
  - Whether the pooler keeps prepared statements is what the application's own
    E(DATABASE_PREPARED_STATEMENTS) says, which the role C(app) writes.
  - An application of which nothing is seen, because it connects only once it serves, with another
    library, or not through O(port), is V(unknown) unless O(unseen_allowed).
  - Prepared statements that it forgets are V(critical), server-side cursors and connections
    that Django keeps by its C(CONN_MAX_AGE) V(warning).
  - So is a pool of one process, of Django's C(OPTIONS) or of SQLAlchemy with its overflow, that is
    larger than O(pool_size). How many processes have one is not looked at.
extends_documentation_fragment:
  - slipway.stack._health
  - slipway.stack._health.check
options:
  application:
    description: Name of the application, and its system user.
    type: str
    required: true
  module:
    description: Python module that its server imports, such as C(shop.wsgi).
    type: str
    required: true
  home:
    description: Directory of the application; C(/srv/<application>) by default.
    type: path
  framework:
    description: Django declares its connections in its settings, others in SQLAlchemy.
    type: str
    choices: [django, fastapi, none]
    default: django
  port:
    description: Port of the pooler.
    type: int
    default: 6432
  pool_size:
    description:
      - Server connections that the pooler opens for the application, its reserve among them; with
        V(0) the pools of its processes are not judged.
    type: int
    default: 0
  unseen_allowed:
    description: Whether an application is well of whose connections through the pool none is seen.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Is the shop made for a pooler?
  slipway.stack.pooling_health:
    name: shop
    application: shop
    module: shop.wsgi
"""

RETURN = r"""
findings:
  description: One row for each thing examined.
  returned: always
  type: list
  elements: dict
  contains:
    check: {description: What was examined., type: str, returned: always}
    state:
      description: V(ok), V(warning), V(critical) or V(unknown).
      type: str
      returned: always
    value: {description: What was found., type: str, returned: always}
    limit: {description: What is expected., type: str, returned: always}
    advice: {description: Where to look or what to do., type: str, returned: always}
state:
  description: The worst state of all findings.
  returned: always
  type: str
healthy:
  description: Whether no finding is critical or unknown.
  returned: always
  type: bool
"""

from ansible_collections.slipway.stack.plugins.module_utils import _health_module, _health_pooling


def main() -> None:
    _health_module.run(_health_pooling)


if __name__ == "__main__":
    main()
