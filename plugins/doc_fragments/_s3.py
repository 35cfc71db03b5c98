# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options of every module that talks to S3."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
requirements:
  - boto3 >= 1.26
options:
  bucket:
    description: The bucket that holds the backups.
    type: str
    required: true
  prefix:
    description: Only what lies below this prefix is seen; the whole bucket if empty.
    type: str
    default: ''
  endpoint_url:
    description: Address of an S3-compatible server; AWS if not given.
    type: str
  region:
    description: Region that requests are signed for; V(us-east-1) if not given.
    type: str
  access_key:
    description: Access key; boto3's own search (environment, instance profile) if not given.
    type: str
  secret_key:
    description: The secret that belongs to O(access_key).
    type: str
  ca_file:
    description: PEM file with the authorities to trust instead of the system's.
    type: path
  addressing_style:
    description:
      - Whether requests name the bucket in the path or in the host name.
      - Most servers that are not AWS need V(path).
    type: str
    choices: [auto, path, virtual]
    default: auto
"""
