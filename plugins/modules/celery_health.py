#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_health
short_description: Examine the Celery workers and beat of an application
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - Starts the Python of the published release once, with the application's user and environment,
    and asks workers, broker and beat's schedule.
  - A worker must answer over the broker, be its unit's main process, and run the published
    release.
  - The age of a queue is that of its oldest message, where that bears the time of sending as
    C(timestamp), C(enqueued_at) or sentry-sdk's C(sentry-task-enqueued-time). No broker keeps one
    itself. Without it only a queue that is empty, or becomes so within two seconds, has a known
    age; of others it is V(unknown). Messages are looked at in Redis and Valkey only, because
    elsewhere that would take them.
  - Beats are counted on this machine; give each machine its number, so that all of them are
    counted together. A beat on a machine outside the inventory cannot be seen.
  - What workers hold and have not done is counted with its age, in Redis and Valkey, since a pool
    that hangs empties its queue all the same. A task for later counts from its time on; one with
    C(acks_late) while it runs.
  - The schedule in the database is written by django-celery-beat every three minutes at the
    latest. Other schedules are those of the settings, and the last tick is read from the unit's
    journal, where beat writes at level info; what other schedulers do is V(unknown).
extends_documentation_fragment:
  - slipway.stack._health
  - slipway.stack._health.check
options:
  application:
    description: Name of the application, and its system user.
    type: str
    required: true
  module:
    description: Python module that holds the Celery application.
    type: str
    required: true
  home:
    description: Directory of the application; C(/srv/<application>) by default.
    type: path
  workers:
    description: Workers that run on this machine.
    type: list
    elements: dict
    default: []
    suboptions:
      unit:
        description: Unit of the worker.
        type: str
        required: true
      node:
        description: Name of its node, without the machine's.
        type: str
        required: true
  queues:
    description: Queues to look at.
    type: list
    elements: str
    default: [celery]
  beats:
    description: Beats that must run on this machine, V(1) or V(0).
    type: int
    default: 1
  beat_unit:
    description: Unit of beat; C(<application>-beat.service) by default.
    type: str
  beat_schedule:
    description:
      - Where beat keeps its schedule.
      - V(database), django-celery-beat's DatabaseScheduler; V(settings), C(beat_schedule);
        V(other), something else.
    type: str
    choices: [database, settings, other]
    default: settings
  depth_warning_messages:
    description: Messages that wait in a queue; more is V(warning). The guides alert over 50.
    type: int
    default: 50
  depth_critical_messages:
    description:
      - Messages that wait in a queue; more is V(critical). Ours; the guides name one level.
    type: int
    default: 500
  age_warning_seconds:
    description:
      - Age of the oldest message of a queue, or in a worker (in seconds); more is V(warning). Ours;
        a sixth of the critical one.
    type: float
    default: 300
  age_critical_seconds:
    description:
      - Age of the oldest message of a queue, or in a worker (in seconds); more is V(critical). The
        guides allow a long queue for 30 minutes.
    type: float
    default: 1800
  beat_warning_seconds:
    description:
      - Time by which the most overdue task is late (in seconds); more is V(warning). Ours; longer
        than what the database lags behind.
    type: float
    default: 300
  beat_critical_seconds:
    description:
      - Time by which the most overdue task is late (in seconds); more is V(critical). Ours; the
        guides name one level.
    type: float
    default: 900
"""

EXAMPLES = r"""
- name: Examine the shop's workers and its beat
  slipway.stack.celery_health:
    name: shop
    application: shop
    module: shop.celery
    workers:
      - {unit: shop-worker-default.service, node: shop-default}
    timeout: 30
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
  sample:
    - check: celery shop queue celery depth
      state: ok
      value: 3 wait
      limit: at most 50
      advice: ""
state:
  description: The worst state of all findings.
  returned: always
  type: str
healthy:
  description: Whether no finding is critical or unknown.
  returned: always
  type: bool
"""

from ansible_collections.slipway.stack.plugins.module_utils import _health_celery, _health_module


def main() -> None:
    _health_module.run(_health_celery)


if __name__ == "__main__":
    main()
