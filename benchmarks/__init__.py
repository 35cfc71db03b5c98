# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How fast Slipway is, beside the limit and its peers, measured in one run."""
