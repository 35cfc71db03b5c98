"""Pages and API: `gunicorn auction.wsgi:application`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "auction.settings")

application = get_wsgi_application()
