# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Dumps of a real PostgreSQL in real S3 servers: whole ones, and ones that were attacked."""
