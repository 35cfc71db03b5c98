#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: import_environment
short_description: Write an application's declaration and secrets from its .env file
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - Writes C(applications.yml) and C(secrets.yml) into a folder. What follows from the declaration,
    as the address of the database, is left out, under whichever name the application reads it.
  - Where they are already, the application is added to them; what else they hold stays as it is
    written. An application that they have is refused.
  - A new C(secrets.yml) is encrypted when the playbook was given a vault's password; one that is
    encrypted stays so. No value is shown.
  - A variable that shells, Docker Compose and python-dotenv would read differently is refused by
    name and line, and nothing is written then. A value that Jinja would read is marked C(!unsafe).
  - Runs on the controller.
options:
  path:
    description: The C(.env) file. A relative path is one of the folder that you are in.
    type: path
    required: true
  into:
    description: Folder of the two files, made where it is missing.
    type: path
    required: true
  name:
    description: Name of the application, as I(stack_applications[].name) may be.
    type: str
    required: true
  framework:
    description:
      - Whose names for services the application uses. C(static) and C(node) are frontends, files
        and a server of Node's; they have no services of ours, so all of their variables are kept.
    type: str
    choices: [django, fastapi, none, static, node]
    default: django
attributes:
  check_mode:
    description: Writes nothing.
    support: full
  diff_mode:
    description: Has no differences to show, they would be secrets.
    support: none
"""

EXAMPLES = r"""
- name: Take the shop over
  slipway.stack.import_environment:
    path: /home/ada/shop/.env
    into: inventories/mine/group_vars/all
    name: shop
"""

RETURN = r"""
remarks:
  description: What was not placed, or is still to be written, one sentence each.
  returned: always
  type: list
  elements: str
  sample: ["SENTRY_DSN is a placeholder; its value is to be written"]
count:
  description: How many variables were read.
  returned: always
  type: int
  sample: 17
files:
  description: Names of the files.
  returned: always
  type: list
  elements: str
  sample: [applications.yml, secrets.yml]
"""

# The action plugin of the same name does all of it.
